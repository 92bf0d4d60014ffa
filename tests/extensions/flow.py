"""A rung for rectified flows: x_s = (1 − s)x + sε, and a network that predicts v = E[ε − x|x_s]."""

import torch

import unlearnlab as ul


class Flow(ul.DiffusionModel):
    """A velocity v(x_s, s) as a diffusion model.

    x_s/√((1 − s)² + s²) is a noised sample of a variance-preserving schedule with the log-SNR
    2 log((1 − s)/s), and ε̂ = x_s + (1 − s)v.
    """

    def __init__(self, velocity, times, shape):
        self.velocity = velocity
        self.times = torch.as_tensor(times, dtype=torch.float64)  # ascending, in (0, 1)
        bars = (1 - self.times) ** 2 / ((1 - self.times) ** 2 + self.times**2)
        before = torch.cat([torch.ones(1, dtype=torch.float64), bars[:-1]])
        super().__init__(shape, ul.Schedule((1 - bars / before).numpy()))

    def noise_prediction(self, x_t, t):
        s = self.times.to(x_t.device)[t].reshape(-1, *(1 for _ in self.shape)).to(x_t)
        x_s = x_t * ((1 - s) ** 2 + s**2).sqrt()
        return x_s + (1 - s) * self.velocity(x_s, s)

    def __repr__(self):
        return f"Flow({len(self.times)} times)"
