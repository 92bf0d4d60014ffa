"""A fourth formulation: a draw of p should seldom be taken for one of q_i."""

from dataclasses import dataclass

import numpy as np

from unlearnlab.problems import Moments
from unlearnlab.statistics import Statistic


@dataclass(frozen=True)
class Posterior(Statistic):
    """πq_i/(πq_i + (1 − π)q), the probability that a point came from q_i."""

    place: int
    prior: float = 0.5

    def values(self, atoms):
        odds = np.log(self.prior / (1 - self.prior)) - atoms.ratios[:, self.place]
        return 1 / (1 + np.exp(-odds))


class Guessed(Moments):
    """min KL(p‖q) subject to E_p[q_i/(q + q_i)] ≤ b_i."""

    constraint_name = "E_p[q_i/(q + q_i)]"

    def measures(self):
        return tuple(Posterior(i) for i in range(self.forgotten))
