"""A masked gradient: only the weights that what is to be forgotten depends on most may move."""

import torch

from unlearnlab.baselines.neggrad import NegGrad
from unlearnlab.training import finetune
from unlearnlab.training.draws import Draws


class Salient(NegGrad):
    """Gradient ascent on forgotten data in the half of the weights with the largest gradients."""

    def attach(self, student):
        super().attach(student)
        like = torch.empty(0, dtype=self.like.dtype, device=self.like.device)
        draws = Draws([0] * self.members, 0, like=like)
        loss = sum(self.losses(student, torch.zeros(0), draws)).sum()
        sizes = [g.abs() for g in torch.autograd.grad(loss, self.parameters)]
        median = torch.cat([size.flatten() for size in sizes]).median()
        self.masks = [size > median for size in sizes]

    def hook(self, parameters):
        for p, mask in zip(parameters, self.masks, strict=True):
            p.grad *= mask


def salient(problem, student, *, lr=1e-3, **options):
    """Without weight decay, by which masked weights would drift."""

    def adam(parameters):
        return torch.optim.Adam(parameters, lr=lr)

    return finetune(problem, student, method=Salient, make_optimizer=adam, **options)
