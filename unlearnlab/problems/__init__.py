"""The three unlearning problems of Khalafi, Ribeiro and Ding (2026), arXiv 2605.30825.

Each minimises the deviation of p from the retained q subject to separation from q_1..q_m:

| problem | objective | constraints | target | multipliers |
|---|---|---|---|---|
| `ReverseKL` (RU) | KL(p‖q) | KL(p‖q_i) ≥ b_i | eq. (2) | λ ≥ 0, Σλ_i < 1 |
| `ForwardKL` (FU) | KL(q‖p) | KL(q_i‖p) ≥ b_i | eq. (5) | λ ≥ 0 |
| `Likelihood` (LU) | KL(p‖q) | E_p[ℓ_i] ≤ b_i | eq. (7) | λ ≥ 0 |

Equation numbers are the paper's.
"""

from .base import Evaluation, Problem, require_problem
from .forward_kl import ForwardKL
from .likelihood import Likelihood
from .reverse_kl import ReverseKL

__all__ = ["Evaluation", "ForwardKL", "Likelihood", "Problem", "ReverseKL", "require_problem"]
