"""Exercises that check themselves: `check("00.1", answer)` says right or wrong, and why.

The expected answers live here, so that a lesson's cell does not give them away. A test works
through every lesson with its own solutions and confirms each of these. Besides, `%%cuda` for cells
that need a GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .density import GaussianMixture, Grid, GridDensity
from .dual import solve
from .problems import Likelihood, ReverseKL


def _three_modes(forget: float) -> tuple[GridDensity, GridDensity]:
    """The lessons' q, three equal Gaussians, and the one of them to forget."""
    grid = Grid(low=-8.0, high=8.0, cells=2001)
    q = GaussianMixture([1 / 3] * 3, [-3, 0, 3], [0.6] * 3).on(grid)
    return q, GaussianMixture([1.0], [forget], [0.6]).on(grid)


def _enough_at_a_fair_price(relative: float) -> bool:
    q, q1 = _three_modes(0.0)
    solution = solve(Likelihood(retain=q, forget=[q1], relative=relative))
    left = solution.model.probabilities[np.abs(q.grid.axes[0]) < 1.5].sum()
    return bool(left <= 0.02 and solution.objective <= 0.37)


def _refutes(multiplier: float) -> bool:
    q, q1 = _three_modes(3.0)
    problem = ReverseKL(retain=q, forget=[q1], relative=3.0)
    return problem.dual_value([multiplier]) > 0.9


def _guides(guided: Callable[..., Any]) -> bool:
    import torch  # the first lessons do without

    text, empty = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    right = {w: (1 - w) * empty + w * text for w in (0.0, 1.0, 2.0, 7.5)}
    return all(torch.allclose(guided(text, empty, w), one, atol=1e-4) for w, one in right.items())


@dataclass(frozen=True)
class Exercise:
    """What is right: a number, several, or a function that tells; and where to look."""

    expected: float | list[float] | Callable[[Any], bool]
    hint: str
    tolerance: float = 1e-3  # relative to max(1, |expected|)


EXERCISES = {
    "00.1": Exercise([0.094677, 0.017277, 0.039252], "sum model.probabilities where abs(x) < 1.5"),
    "00.2": Exercise(3.33433, "which of the cells with x > 1.5 has the largest mass?", 3e-3),
    "00.3": Exercise(_enough_at_a_fair_price, "print both numbers for 0.1, 0.03 and 0.01"),
    "01.1": Exercise(-2.0, "first λ* = 1 − |μ|/√(2b), then u = λ/(1−λ)"),
    "01.2": Exercise(9 / 29, "the right mode keeps (1/3 − λ)/(1 − λ) of the mass"),
    "01.3": Exercise(1.351, "share after divided by share before", 2e-3),
    "02.1": Exercise(_refutes, "read the figure: where is the curve above 0.9?"),
    "02.2": Exercise(-4.96781, "take a step of 1e-5, and mind the sign"),
    "02.3": Exercise(0.0, "the certificate has .primal and .dual", 1e-7),
    "03.1": Exercise(0.283037, "the average is comb.average; one ul.kl for each of the two", 1e-4),
    "03.2": Exercise(284_243, "ten times the cells, a tenth of the bound", 0.12),
    "03.3": Exercise(7, "solve with atoms.split(k), atoms1.split(k) for k = 1, 2, 3, ...", 1e-9),
    "04.1": Exercise(
        0.0211135, "to first order 20 % of a threshold saves 0.2·λ·b: which λ·b is largest?", 5e-4
    ),
    "04.2": Exercise(3, "solve with relative=[2.0, 2.3, 2.0] and print the multipliers", 1e-9),
    "04.3": Exercise(0.109168, "bisect on λ with problem.target([λ, λ, λ])"),
    "05.1": Exercise(4.62836, "which terms of log Q/Q₁ cancel?"),
    "05.2": Exercise(0.0186116, "the cell above does it for state 1", 2e-4),
    "05.3": Exercise(0.0459809, "solve, then chain.departure(...) of the model", 2e-4),
    "06.1": Exercise(264, "count the cells that are higher than both neighbours", 0.012),
    "06.2": Exercise(-0.468629, "−σ·score, and the score of a Gaussian is −(x − mean)/variance"),
    "06.3": Exercise(1.47478, "x̂ = (x_t − σ·ε̂)/α, with α and σ at t = 250"),
    "07.1": Exercise(1.52319, "the difference is −2ασ at every x, and α²σ² is a derivative"),
    "07.2": Exercise(76741, "draws go with the variance, not with the standard deviation", 0.12),
    "07.3": Exercise(1.52, "a ul.ComposedModel with guidance [1.0], then lemma3 and ul.kl", 0.05),
    "08.1": Exercise(0.27399, "the primal step first: the dual step sees the new m", 1e-5),
    "08.2": Exercise(0.149, "ul.finetune(...).multipliers[0]; no student is given", 0.013),
    "08.3": Exercise(1 / 3, "how much mass does that mode have in q?", 5e-3),
    "09.1": Exercise(0.25, "1 + η·v′(λ*) = −1, and v′ = −1/(1−λ)³"),
    "09.2": Exercise(5000, "solve 1 − 1/√(2b) = 0.99 for b", 1e-6),
    "09.3": Exercise(0.01, "KL of two unit Gaussians is half the squared distance", 1e-5),
    "10.1": Exercise(2.244778, "KL(δ_x‖q) = log 1/q(x), natural logarithm", 1e-3),
    "10.2": Exercise(160 / 1639, "(μ − λ)/(1 − Λ), and Λ is the sum of three weights", 1e-4),
    "10.3": Exercise(180 / 1879, "solve (μ − λ)/(1 − λ) = μ² for λ", 1e-3),
    "10.4": Exercise(1.961659, "log odds before less log odds after, odds being p/(1 − p)", 1e-3),
    "11.1": Exercise(5.0, "first Λ: from λ_i = η(1 − Λ), summed over both", 1e-3),
    "11.2": Exercise(0.5, "the best guess in the mean square is a mean", 1e-6),
    "11.3": Exercise(2.0, "the slope is (d/2)·e^(−d²/8); set its derivative to zero", 1e-2),
    "12.1": Exercise(2400, "solve √(p(1 − p)/n) = 0.01 for n", 1e-3),
    "12.2": Exercise(4.58087, "e^(r̂/τ) has a standard error of σ/τ in its exponent", 2e-3),
    "12.3": Exercise(_guides, "start at the empty prompt and go w times the difference"),
    "13.1": Exercise(0.550661, "KL of two coins, in nats"),
    "13.2": Exercise(3.0, "u = λ/(1 − λ), and η = u"),
    "13.3": Exercise(400, "√(s(1 − s)/n) is the standard error of a share"),
    "14.1": Exercise(2.813411, "−log of the rate; independent rates multiply"),
    "14.2": Exercise(0.789474, "first u₁ = λ₁/(1 − Λ), then solve Λ/3/(1 − Λ) = u₁ for Λ"),
    "14.3": Exercise(1.378326, "KL of q given an event to q is −log of its probability"),
    "15.1": Exercise(
        840.389, "a factor of 0.95 in (q₁/q_∅)^(1/τ) is how much in log q₁/q_∅?", 2e-3
    ),
    "15.2": Exercise(2080, "chain, second pass and likelihood by the table, times 4 batches", 1e-9),
    "15.3": Exercise(5.25, "11 latents and 10 predictions for each sample of the batch", 1e-3),
}


class NotYet(AssertionError):  # noqa: N818 (students read the name)
    """An exercise that is open or wrong: no points from a grader, one sentence in a notebook."""

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in place of the traceback."""
        return [str(self)]


def check(exercise: str, answer: Any) -> None:
    """Say whether an answer is right, and if it is not, how far off and where to look.

    Args:
        exercise: its number, "lesson.exercise".
        answer: what the student has; `...` while the exercise is still open.

    Raises:
        NotYet: the answer is wrong, or still open.
        ValueError: no such exercise.

    Example:
        >>> from unlearnlab.teaching import check
        >>> check("01.1", -2)
        Right.
        >>> check("01.1", -1)
        Traceback (most recent call last):
        ...
        unlearnlab.teaching.NotYet: Not yet: your answer is -1., too large.
        Hint: first λ* = 1 − |μ|/√(2b), then u = λ/(1−λ)
    """
    if not isinstance(exercise, str) or exercise not in EXERCISES:
        raise ValueError(f"exercise must be one of {', '.join(EXERCISES)}; got {exercise!r}")
    if answer is None or answer is ...:
        raise NotYet("Still open: put your answer in place of the dots.")
    asked = EXERCISES[exercise]
    reason = _wrong(answer, asked)
    if reason is not None:
        raise NotYet(f"Not yet: your answer is {_show(answer)}, {reason}. Hint: {asked.hint}")
    print("Right.")


def _wrong(answer: Any, asked: Exercise) -> str | None:
    if callable(asked.expected):
        try:
            return None if asked.expected(answer) else "which does not do it"
        except Exception as error:  # a student's answer may be of any kind
            return f"which cannot be used ({error})"
    try:
        given, right = np.asarray(answer, dtype=float), np.asarray(asked.expected, dtype=float)
    except (TypeError, ValueError):
        return "which is not a number"
    if given.shape != right.shape:
        return f"of shape {given.shape}; expected shape {right.shape}"
    if not np.isfinite(given).all():
        return "which is not finite"
    off = np.abs(given - right) > asked.tolerance * np.maximum(1.0, np.abs(right))
    if not off.any():
        return None
    if given.ndim == 0:
        return "too small" if given < right else "too large"
    return f"off in {int(off.sum())} of {off.size} entries"


def _show(answer: Any) -> str:
    try:
        return np.array2string(np.asarray(answer, dtype=float), precision=6, threshold=8)
    except (TypeError, ValueError):
        return repr(answer)[:60]


SKIPPED = "skipped: this cell needs a CUDA device, and torch sees none"


def add_cuda_magic() -> None:
    """Teach a notebook `%%cuda`: such a cell runs where torch sees a CUDA device, and only there.

    Elsewhere it prints that it was skipped. Errors of a cell that runs are raised as usual. Plain
    Python, which has no magics, is left alone.
    """
    from IPython import get_ipython

    shell: Any = get_ipython()
    if shell is None:
        return

    def cuda(line: str, cell: str) -> None:
        """Run the cell if torch sees a CUDA device."""
        import torch

        if not torch.cuda.is_available():
            print(SKIPPED)
            return
        source = shell.transform_cell(cell)
        exec(compile(source, shell.compile.cache(source), "exec"), shell.user_ns)

    shell.register_magic_function(cuda, "cell", "cuda")
