"""Small models of every kind, on any device, and comparisons of two devices."""

import torch

import unlearnlab as ul
from unlearnlab import digits

SCHEDULE = ul.Schedule()
FEW = torch.linspace(-3, 3, 7)[:, None]


def gaussian(mean, device, std=1.0):
    return ul.GaussianMixture([1.0], [mean], [std]).diffused(SCHEDULE, device=device)


def mixture(device):
    return ul.GaussianMixture([0.4, 0.6], [-2, 2], [0.7, 1.0]).diffused(SCHEDULE, device=device)


def shaken(module, size=0.05):
    """With changes of the parameters that are the same on every device."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for p in module.parameters():
            p += size * torch.randn(p.shape, generator=generator).to(p)
    return module


def network(device, size=0.05):
    return shaken(ul.ScoreNetwork(1, SCHEDULE, width=16, device=device), size)


def wrapped(device):
    def standard_normal(x_t, t):
        return SCHEDULE.at(t, x_t)[1] * x_t

    return ul.wrap(standard_normal, SCHEDULE, 1, device=device)


MODELS = {
    "mixture": mixture,
    "network": network,
    "wrapped": wrapped,
    "data": lambda device: ul.DataSet(FEW, SCHEDULE, device=device),
    "point": lambda device: ul.PointMass(FEW[1], SCHEDULE, device=device),
    "composed": lambda device: ul.ComposedModel(mixture(device), [gaussian(2, device)], [0.5]),
    "digits": lambda device: digits.load_model("conditional", label=3, device=device),
}


def near(one, other, *, rtol=1e-4, atol=1e-4):
    """Whether tensors agree, wherever they are."""
    torch.testing.assert_close(one.cpu().double(), other.cpu().double(), rtol=rtol, atol=atol)


def on(x, device):
    """Whether a tensor or a model is on a device."""
    return x.device.type == torch.device(device).type
