"""Small students and models whose best parameters are known by hand."""

import copy

import torch
from torch import nn

import unlearnlab as ul

SCHEDULE = ul.Schedule()


def gaussian(mean, std=1.0):
    return ul.GaussianMixture([1.0], [mean], [std]).diffused(SCHEDULE)


class Shifted(ul.DiffusionModel, nn.Module):
    """N(m, 1) with m as its only parameter: ε̂ = σ(x_t − αm)."""

    members = 1

    def __init__(self, mean=0.0, dtype=torch.float32):
        nn.Module.__init__(self)
        ul.DiffusionModel.__init__(self, (1,), SCHEDULE, dtype)
        self.mean = nn.Parameter(torch.tensor([float(mean)], dtype=dtype))

    def forward(self, x_t, t):
        alpha, sigma = self.schedule.at(t, x_t)
        return sigma * (x_t - alpha * self.mean)

    noise_prediction = forward

    def for_training(self):
        return copy.deepcopy(self)
