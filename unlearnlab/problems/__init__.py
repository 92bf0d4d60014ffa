"""The three unlearning problems of Khalafi, Ribeiro and Ding (2026), arXiv 2605.30825.

Each minimises the deviation of p from the retained q subject to separation from q_1..q_m:

| problem | objective | constraints | target | multipliers |
|---|---|---|---|---|
| `ReverseKL` (RU) | KL(p‖q) | KL(p‖q_i) ≥ b_i | eq. (2) | λ ≥ 0, Σλ_i < 1 |
| `ForwardKL` (FU) | KL(q‖p) | KL(q_i‖p) ≥ b_i | eq. (5) | λ ≥ 0 |
| `Likelihood` (LU) | KL(p‖q) | E_p[ℓ_i] ≤ b_i | eq. (7) | λ ≥ 0 |
| `Moments` | KL(p‖q) | E_p[f_i] ≤ b_i, E_p[g_j] ≥ c_j | eq. (7) | λ ≥ 0 |

Equation numbers are the paper's. `Likelihood` is a `Moments` problem, the general linear case.
"""

from .base import Problem
from .evaluation import Evaluation
from .forward_kl import ForwardKL
from .likelihood import Likelihood
from .moments import Moments
from .registry import registered, require_problem
from .reverse_kl import ReverseKL
from .stated import Stated, require_stated

__all__ = [
    "Evaluation",
    "ForwardKL",
    "Likelihood",
    "Moments",
    "Problem",
    "ReverseKL",
    "Stated",
    "registered",
    "require_problem",
    "require_stated",
]
