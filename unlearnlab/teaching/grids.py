"""The exercises of lessons 00 to 05: densities on grids, without torch."""

from __future__ import annotations

from math import ceil, exp, sqrt

from . import grid_answers as answers
from .exercise import Exercise

GRIDS = {
    "00.1": Exercise(
        answers.masses_left,
        "all three lower the middle mode and none removes it: q had a third of its mass there",
        (
            "a probability is a sum of cells' masses",
            "abs(x) < width picks the cells; model.probabilities holds their masses",
            "for the first: reverse.model.probabilities[abs(x) < your.width].sum()",
        ),
        variants=[{"width": w} for w in (1.5, 1.2, 1.3, 1.4, 1.6)],
    ),
    "00.2": Exercise(
        answers.top_of_the_right_mode,
        "the target is q·(q/q₁)^u, and this factor grows with the distance from 0: it carries the "
        "outer modes outwards, the further the more is asked",
        (
            "solve the problem again, with your threshold",
            "among the cells with x > 1.5, which one has the largest mass?",
            "inside = x > 1.5; then the x[inside] at the argmax of probabilities[inside]",
        ),
        tolerance=3e-3,
        variants=[{"relative": r} for r in (2.0, 1.6, 1.7, 1.9, 2.2)],
    ),
    "00.3": Exercise(
        None,
        "",
        (
            "what falls when `relative` falls, and what rises?",
            "print the mass left and the deviation for a few values between 0.1 and 0.01",
            "s = ul.solve(ul.Likelihood(retain=q, forget=[q1], relative=0.05)), then compare "
            "s.model.probabilities[abs(x) < 1.5].sum() and s.objective with your numbers",
        ),
        variants=[
            {"share": share, "nats": nats}
            for share, nats in ((0.02, 0.37), (0.025, 0.355), (0.03, 0.342), (0.035, 0.33))
        ],
        judge=answers.enough_at_a_fair_price,
    ),
    "01.1": Exercise(
        lambda mean, b: mean - mean * sqrt(2 * b) / abs(mean),
        "u = √(2b)/|μ| − 1 and p* = N(−μu, 1): away from q₁, to the other side of 0",
        (
            "on which side of q does the optimum flee from q₁?",
            "two steps: the threshold gives λ*, and λ* gives u",
            "λ* = 1 − |μ|/√(2b), with your μ and b; then u = λ*/(1 − λ*)",
        ),
        variants=[
            {"mean": mean, "b": b} for mean, b in ((2, 8), (1, 8), (-1, 2), (3, 18), (-2, 18))
        ],
    ),
    "01.2": Exercise(
        lambda keep: (1 - keep) / (3 - keep),
        "the mode keeps (1/3 − λ)/(1 − λ), which falls faster than 1/3 − λ would suggest: what is "
        "taken away is shared out by the denominator, to this mode as well",
        (
            "what does the difference target leave of the right mode, as a formula in λ?",
            "the right mode keeps (1/3 − λ)/(1 − λ) of all mass",
            "set (1/3 − λ)/(1 − λ) equal to your share of 1/3, and multiply by 1 − λ",
        ),
        variants=[{"keep": keep} for keep in (0.1, 0.2, 0.25, 0.4, 0.5)],
    ),
    "01.3": Exercise(
        lambda relative: {0.02: 1.35079, 0.1: 1.34431, 0.2: 1.30023, 0.3: 1.25746}[relative],
        "mass that leaves versicolor goes where q has mass and q₁ has little, and part of "
        "virginica's petals look like versicolor's: so it gains less than setosa",
        (
            "solve again, then compare two shares",
            "a share is a sum over the cells where likeliest == 2",
            "model.probabilities[likeliest == 2].sum() over the same sum of flowers.probabilities",
        ),
        tolerance=2e-3,
        variants=[{"relative": r} for r in (0.02, 0.1, 0.2, 0.3)],
    ),
    "02.1": Exercise(
        None,
        "",
        (
            "g(λ) is given as a formula above: which expectation does it need?",
            "an expectation under q is a sum over cells of q.probabilities times a function",
            "u = lam / (1 - lam); the function is np.exp(u * (q.log_density - q1.log_density))",
        ),
        judge=answers.bounds,
    ),
    "02.2": Exercise(
        lambda b: -answers.likelihood_multiplier(b),
        "the slope is −λ*: a larger threshold is more room, and more room costs less",
        (
            "copy what was done for the reverse problem, and mind what a step is here",
            "the threshold is about 0.02: a step of 1e-3 is a twentieth of it",
            "take a step of 1e-5, and (best(b + h) - best(b - h)) / (2 * h)",
        ),
        variants=[{"b": b} for b in (0.02, 0.015, 0.025, 0.03, 0.04)],
    ),
    "02.3": Exercise(
        answers.fall_by_normalising,
        "normalising adds the same −log M to t everywhere, and both numbers are minus an average "
        "of t: so both fall by −log M, the separation as well",
        (
            "what does normalising do to t = log p/q?",
            "q·e^t has a mass M; dividing by it subtracts log M from t at every x",
            "M = (q.probabilities * np.exp(t)).sum(), with t the average of your two",
        ),
        tolerance=1e-4,
        variants=[
            {"first": first, "second": second}
            for first, second in ((0.05, 0.32), (0.1, 0.31), (0.15, 0.32), (0.2, 0.33))
        ],
    ),
    "03.1": Exercise(
        None,
        "",
        (
            "each of the three integrals is to get its share, wherever its integrand is large",
            "neighbouring cells have nearly the same integrands: share them out among neighbours",
            "np.arange(grid.size) counts the cells; take every second one for a share of 1/2",
        ),
        variants=[{"share": share} for share in (0.25, 0.2, 0.4, 0.6, 0.75)],
        judge=answers.combs,
    ),
    "03.2": Exercise(
        lambda nats: 284.243 / nats,
        "the bound is m + 2 times what the largest cell adds, and a cell adds less as it shrinks: "
        "O(1/N)",
        (
            "what happens to the bound when every cell is cut in two?",
            "ten times the cells, a tenth of the bound",
            "2001 cells have the bound third.bounds[1]; it is to shrink to your number",
        ),
        tolerance=0.12,
        variants=[{"nats": nats} for nats in (0.001, 0.002, 0.005, 0.0005)],
    ),
    "03.3": Exercise(
        lambda b: ceil(0.3 * exp(b)),
        "p may sit on one part of the second atom as long as log(k/0.3) ≥ b: the parts needed grow "
        "like e^b",
        (
            "look at the grey lines of the figure",
            "solve with atoms.split(k) and atoms1.split(k), for one k after another",
            "c = ul.solve(ul.ReverseKL(retain=atoms.split(k), forget=[atoms1.split(k)], "
            "thresholds=[your.b])).certificate, until c.primal - c.dual < 1e-6",
        ),
        tolerance=1e-9,
        variants=[{"b": b} for b in (3.0, 2.5, 2.8, 3.3)],
    ),
    "04.1": Exercise(
        answers.saved_by_loosening,
        "to first order a share s of threshold saves s·λ·b: the largest λ is not the largest λ·b",
        (
            "λ is a price per unit: how many units are your per cent?",
            "compare λ·b of the three, not λ",
            "your.percent / 100 times the largest of solution.multipliers * problem.thresholds",
        ),
        tolerance=5e-4,
        variants=[{"percent": percent} for percent in (20, 10, 15, 30)],
    ),
    "04.2": Exercise(
        answers.raised_prices,
        "one of the three is free again, and it is another one: prices are those of one bargain, "
        "and change with it",
        (
            "solve once more, with a threshold for each",
            "relative= takes a list: one multiple for each of the three",
            "ul.solve(ul.ReverseKL(retain=q, forget=forget, relative=[2.0, your.raised, 2.0]))",
        ),
        tolerance=2e-4,
        variants=[{"raised": raised} for raised in (2.3, 2.35, 2.4, 2.5)],
    ),
    "04.3": Exercise(
        answers.cost_of_one_weight,
        "to bring the worst of three down to the share, one weight overdoes the other two, and "
        "each of them costs nats",
        (
            "first find the common λ, then compare two deviations",
            "`worst(lam)`, the largest of the three shares at one λ for all, falls with lam",
            "brentq(lambda lam: worst(lam) - your.share, 1, 100); worst takes "
            "problem.evaluate(problem.target([lam] * 3)).constraints / problem.baseline()",
        ),
        variants=[{"share": share} for share in (0.1, 0.08, 0.15, 0.2)],
    ),
    "05.1": Exercise(
        answers.divergence_of_points,
        "log Q/Q₁ is log q/q₁ at x₀: both measures have the same kernels, which cancel",
        (
            "write log Q/Q₁ with the three factors of each",
            "which factors are the same above and below?",
            "what is left depends on x₀ alone: a ul.kl of two densities on the grid of 64 cells",
        ),
        variants=[{"mean": mean} for mean in (0.5, -0.5, 1.0, -1.0)],
    ),
    "05.2": Exercise(
        lambda relative: {1.6: 0.0186116, 1.4: 0.0089490, 1.5: 0.0134540, 1.8: 0.0303640}[relative],
        "at x₂ the noised densities overlap more, and a ratio of sums is no sum of ratios",
        (
            "the cell above does it for state 1, at relative=1.6",
            "solve the reverse problem on paths for your threshold first",
            "ul.kl(chain.marginal(mine.model, 2), composed(mine, ul.ReverseKL, 2))",
        ),
        tolerance=1e-4,
        variants=[{"relative": r} for r in (1.8, 1.4, 1.5, 1.6)],
    ),
    "05.3": Exercise(
        lambda relative: {0.2: 0.0459809, 0.25: 0.0393445, 0.3: 0.0333457, 0.4: 0.0232346}[
            relative
        ],
        "exp(−λQ₁) looks at x₁ and x₂ as well, so it bends the kernels; with the ratio Q₁/Q they "
        "would cancel",
        (
            "what does `departure` measure?",
            "solve first; the model of the solution is a path measure",
            "chain.departure(...) of the model of ul.solve(ul.Likelihood(retain=paths, ...))",
        ),
        tolerance=2e-4,
        variants=[{"relative": r} for r in (0.2, 0.25, 0.3, 0.4)],
    ),
}
