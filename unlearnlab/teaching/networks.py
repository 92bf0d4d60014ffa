"""The exercises of lessons 06 to 10: noise predictions and small networks."""

from __future__ import annotations

from math import exp, log, sqrt

from . import labs, loops
from .exercise import Exercise

SIGNAL_250, NOISE_250 = 0.7220962751728661, 0.6917925768476215  # of `Schedule()` at t = 250


def clean_guess(x_t: float) -> float:
    """06.3: E[x|x_t] of three Gaussians at t = 250, each weighed by how likely it makes x_t."""
    spread = SIGNAL_250**2 * 0.36 + NOISE_250**2
    total = guess = 0.0
    for weight, mean in ((0.2, -3.0), (0.5, 0.0), (0.3, 3.0)):
        away = x_t - SIGNAL_250 * mean
        likely = weight * exp(-(away**2) / (2 * spread))
        total += likely
        guess += likely * (mean + SIGNAL_250 * 0.36 / spread * away)
    return guess / total


def one_gaussian(mean: float, std: float, x_t: float) -> float:
    """06.2: σ(x_t − αμ)/(α²s² + σ²) at α² = σ² = 1/2."""
    return sqrt(0.5) * (x_t - sqrt(0.5) * mean) / (0.5 * std**2 + 0.5)


def finite_range(mean: float, end: float) -> float:
    """07.1: ½∫2·... = (mean²/2)·(α² at the clean end − α² at the noisy end)."""
    return mean**2 / 2 * (1 / (1 + exp(-end)) - 1 / (1 + exp(end)))


def one_round(m: float, price: float) -> float:
    """08.1: λ after a primal step of 0.1 and a dual step of 0.05, at b = 2 and q₁ = N(1, 1)."""
    m -= 0.1 * (m - price * (m - 1))
    return max(0.0, price + 0.05 * (2 - (m - 1) ** 2 / 2))


def bracket(s: float, h: float) -> list[float]:
    """09.2: ½Var of a coin times h, and −log E_q[w]."""
    return [s * (1 - s) * h**2 / 2, -log(1 - s + s * exp(h))]


NETWORKS = {
    "06.1": Exercise(
        lambda std: {0.6: 264, 0.5: 274, 0.7: 252, 0.8: 236, 0.9: 214}[std],
        "a quarter of the way α and σ are about equal, and the modes, α·3 apart, are then about as "
        "wide as they are distant",
        (
            "how does one see on a grid that there is a single hill?",
            "count the cells that are higher than both neighbours, for one t after another",
            "d = noised(mine, t).log_density, with a mixture of your width; "
            "((d[1:-1] > d[:-2]) & (d[1:-1] > d[2:])).sum() is the number of hills",
        ),
        tolerance=0.012,
        variants=[{"std": std} for std in (0.6, 0.5, 0.7, 0.8, 0.9)],
    ),
    "06.2": Exercise(
        one_gaussian,
        "the score of a Gaussian is −(x − mean)/variance, and times −σ that is "
        "σ(x_t − αμ)/(α²s² + σ²)",
        (
            "the noise prediction is −σ times a slope: of which density?",
            "x_t ~ N(αμ, α²s² + σ²); the score of a Gaussian is −(x − mean)/variance",
            "with α = σ = √½ the mean is √½·μ and the variance ½s² + ½",
        ),
        variants=[
            {"mean": mean, "std": std, "x_t": x_t}
            for mean, std, x_t in ((2, 0.5, 1), (1, 0.5, 2), (-2, 0.5, 1), (3, 1, 1), (2, 2, 0))
        ],
    ),
    "06.3": Exercise(
        clean_guess,
        "the guess is the mean of all clean samples that could have led here, some of one mode and "
        "some of its neighbour: it lies between them, where q has little mass",
        (
            "solve x_t = α·x + σ·ε for x, with the prediction in the place of ε",
            "x̂ = (x_t − σ·ε̂)/α, with α and σ at t = 250",
            "exact.noise_prediction(torch.tensor([[your.x_t]]), torch.tensor([250])) is ε̂; "
            "alpha[250] and sigma[250] are the others",
        ),
        variants=[{"x_t": x_t} for x_t in (1.2, 1.0, 1.4, -1.2, -1.0)],
    ),
    "07.1": Exercise(
        finite_range,
        "the difference is −μασ at every x, and half its square, μ²α²σ²/2, is the derivative of "
        "μ²α²/2 in γ: the integral is a difference of two ends",
        (
            "what is ε̂_p − ε̂_q for two Gaussians of one width?",
            "ε̂ = σ(x − mean): the difference is −μασ at every x, and α²σ² is a derivative",
            "½∫μ²α²σ²dγ = (μ²/2)·(α² at the clean end − α² at the noisy end)",
        ),
        variants=[
            {"mean": mean, "end": end} for mean, end in ((2, 2), (1, 2), (2, 1), (3, 1), (3, 3))
        ],
    ),
    "07.2": Exercise(
        lambda draws: 76.741 * draws,
        "draws go with the variance: nearly 80 times as many for a standard deviation that is "
        "nearly nine times as large",
        (
            "which property of a draw sets the standard error of a mean?",
            "error² = variance/draws: set two of these equal",
            "your.draws * separate.var() / same.var(), as a float",
        ),
        tolerance=0.12,
        variants=[{"draws": draws} for draws in (1000, 500, 2000, 400)],
    ),
    "07.3": Exercise(
        lambda u: {1.0: 3.651, 0.8: 2.313, 0.6: 1.281, 0.5: 0.869}[u],
        "the composed model is no denoiser: the difference grows with u, and no number of samples "
        "removes it",
        (
            "build the composed model with your guidance first",
            "two numbers: the formula, and the KL of what the model draws",
            "strong = ul.ComposedModel(retained, [forgotten], [your.u]); then lemma3(strong, "
            "retained)[0] and ul.kl(strong, retained, steps=200)",
        ),
        tolerance=0.1,
        variants=[{"u": u} for u in (1.0, 0.8, 0.6, 0.5)],
    ),
    "08.1": Exercise(
        one_round,
        "the primal step comes first, and the dual step reads the constraint at the new m",
        (
            "which of the two steps sees the result of the other?",
            "the primal step first: the dual step sees the new m",
            "m moves down the slope of the Lagrangian at the old λ; then λ rises by its step times "
            "the violation at the new m",
        ),
        tolerance=1e-5,
        variants=[
            {"m": m, "price": price}
            for m, price in ((0.0, 0.2), (0.5, 0.1), (-0.5, 0.3), (0.2, 0.4), (-0.2, 0.1))
        ],
    ),
    "08.2": Exercise(
        None,
        "",
        (
            "who wants the Lagrangian small, and who wants it large?",
            "L = KL(p‖q) + λ·(b − KL(p‖q₁)), and the violation is b − KL(p‖q₁)",
            "loss = deviation + price * (b - separation), then price = max(0.0, price + 0.05 * "
            "float(violation))",
        ),
        judge=loops.looped,
    ),
    "08.3": Exercise(
        lambda retain, forget, price: (retain - price * forget) / (1 - price),
        "the slope is 2(ε̂_θ − ε̂_q) − 2λ(ε̂_θ − ε̂_q₁), and zero where ε̂_θ is ε̂_q moved on by "
        "λ/(1 − λ) times its distance from ε̂_q₁",
        (
            "a parabola in one number: where is its slope zero?",
            "2(x − ε̂_q) = 2λ(x − ε̂_q₁): collect x",
            "x·(1 − λ) = ε̂_q − λ·ε̂_q₁, with your three numbers",
        ),
        tolerance=1e-4,
        variants=[
            {"retain": retain, "forget": forget, "price": price}
            for retain, forget, price in (
                (0.5, 2, 0.2),
                (1, 3, 0.25),
                (-0.5, 1, 0.5),
                (2, 1, 0.2),
                (1, -1, 0.5),
            )
        ],
    ),
    "09.1": Exercise(
        None,
        "",
        (
            "what does `problem.evaluate` say of a model at two values of u?",
            "the separation of its samples rises with u: look for the root of separation − b",
            "reached = [problem.evaluate(ul.ComposedModel(q, [q_wide], [u])).constraints[0] "
            "for u in (0.1, 0.2, 0.3, 0.4)], then np.interp(b, reached, ...)",
        ),
        judge=loops.reaches,
    ),
    "09.2": Exercise(
        bracket,
        "at p_θ = q the bracket is −log w, which is −h with probability s: its variance is "
        "s(1 − s)h². At the target p = q·w/E_q[w], so that log p/q − log w = −log E_q[w]",
        (
            "what is log p_θ/q on a chain of a student that draws as q does?",
            "the variance of a coin that is h with probability s; and log p/q of the target in "
            "terms of w",
            "½·s(1 − s)·h², and −log of (1 − s)·e^0 + s·e^h",
        ),
        tolerance=1e-4,
        variants=[
            {"s": s, "h": h} for s, h in ((0.5, -2), (0.4, -1), (0.25, -2), (0.2, -3), (0.6, -1))
        ],
    ),
    "09.3": Exercise(
        None,
        "",
        (
            "which roads go on until the threshold holds?",
            "likely.evaluate(run.student) measures what the check measures: the constraint, and "
            "the nats paid",
            "mine = ul.finetune(likely, student, method=..., batch=256), with a method of the "
            "table above; until='met' for those that do not ask by themselves",
        ),
        variants=[{"left": left} for left in (0.3, 0.25, 0.35)],
        judge=loops.promised,
    ),
    "10.1": Exercise(
        lambda b: 2 / (2 * b) ** 1.5,
        "v′(λ*) = −1/(1 − λ*)³ = −(2b)^(3/2), and 1 + η·v′ = −1: a larger threshold steepens the "
        "violation and shortens the step",
        (
            "how steep is the violation at λ*?",
            "1 + η·v′(λ*) = −1, and v′ = −1/(1 − λ)³",
            "1 − λ* = 1/√(2b), with your b; the slope there is −(2b)^(3/2)",
        ),
        variants=[{"b": b} for b in (2, 3, 4, 1, 5)],
        tolerance=2e-4,
    ),
    "10.2": Exercise(
        lambda edge: 1 / (2 * (1 - edge) ** 2),
        "1 − 1/√(2b) reaches the edge there; long before, nothing of q is left: P* = ½(√(2b) − 1)²",
        (
            "set λ* equal to the edge",
            "1 − 1/√(2b) = edge: what is √(2b)?",
            "√(2b) = 1/(1 − edge)",
        ),
        tolerance=1e-6,
        variants=[{"edge": edge} for edge in (0.99, 0.98, 0.95, 0.9)],
    ),
    "10.3": Exercise(
        lambda m: 0.25 * (m + 1) ** 2,
        "L − D* = (1 − λ*)·KL(N(m, 1)‖N(−1, 1)), and the KL of two unit Gaussians is half the "
        "squared distance of their means",
        (
            "which divergence is it, and from which target?",
            "p* = N(−1, 1) and λ* = ½; the KL of two unit Gaussians is half the squared distance",
            "½ times ½(m − (−1))², with your m",
        ),
        tolerance=1e-5,
        variants=[{"m": m} for m in (-0.8, -0.7, -0.6, -0.9, -1.2)],
    ),
    "10.4": Exercise(
        None,
        "",
        (
            "which of the two must become slower: the price, or the student's answer to it?",
            "three knobs slow the price or hurry the student: dual_lr, primal_steps, and damping "
            "with dual_optimizer; exercise 1 says how long a dual step may be at your b",
            "{'dual_lr': 0.005, 'primal_steps': 2} still overshoots at most b; a larger lr hurries "
            "the student, so that it can follow",
        ),
        variants=[{"b": b} for b in (8, 6, 7, 9)],
        judge=labs.mended,
    ),
}
