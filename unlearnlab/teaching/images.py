"""The exercises of lessons 11 and 12: digits, and other people's losses."""

from __future__ import annotations

from . import image_labs, labs
from .exercise import Exercise

IMAGES = {
    "11.1": Exercise(
        2.244778,
        "a point mass has all of its weight at x, so that KL(δ_x‖q) is −log q(x)",
        (
            "which mass does q give to the image?",
            "KL(δ_x‖q) = log 1/q(x)",
            "natural logarithm, and the image's share of the data",
        ),
    ),
    "11.2": Exercise(
        160 / 1639,
        "what is subtracted from one image is shared out by the denominator, to all",
        (
            "write the target's mass at one image",
            "(μ − λ)/(1 − Λ), and Λ is the sum of three weights",
            "put in the weights of all three, then divide",
        ),
        tolerance=1e-4,
    ),
    "11.3": Exercise(
        180 / 1879,
        "(μ − λ)/(1 − λ) = μ² has this root: λ lies just below the image's mass",
        (
            "which mass is asked for, and which does the target have?",
            "(μ − λ)/(1 − λ) is the mass that is left",
            "solve (μ − λ)/(1 − λ) = μ² for λ",
        ),
    ),
    "11.4": Exercise(
        1.961659,
        "a Bayes factor is a difference of log odds, whatever the share was before",
        (
            "compare odds, not shares",
            "odds are p/(1 − p), and their logarithms subtract",
            "log odds before less log odds after",
        ),
    ),
    "11.5": Exercise(
        None,
        "",
        (
            "which student of the lesson lacks only one of the two?",
            "the known masses take the images away; what would repair the rest?",
            "baselines.naive on the digits without the three images, from that student: 100 steps, "
            "batches of 16",
        ),
        judge=image_labs.emptied,
    ),
    "12.1": Exercise(
        lambda eta, concepts: 1 + concepts * eta,
        "λ_i = η/(1 + mη), so Λ = mη/(1 + mη), and 1/(1 − Λ) = 1 + mη",
        (
            "first find Λ: with one concept, the factor was 1/(1 − λ)",
            "from u_i = λ_i/(1 − Λ) = η it follows that λ_i = η(1 − Λ); sum over the concepts",
            "Λ = mη(1 − Λ), with your m and η: solve for Λ, then take 1/(1 − Λ)",
        ),
        variants=[
            {"eta": eta, "concepts": concepts}
            for eta, concepts in ((2, 2), (1, 3), (3, 2), (1.5, 4), (0.5, 4))
        ],
    ),
    "12.2": Exercise(
        lambda low, high: (low + high) / 2,
        "the best guess of something independent, in the mean square, is its mean; a noise "
        "prediction that is constant belongs to no distribution",
        (
            "what does x_t tell about u?",
            "of all guesses of an unknown number, which has the least mean square error?",
            "the mean of a number that is uniform between your low and high",
        ),
        tolerance=1e-6,
        variants=[
            {"low": low, "high": high} for low, high in ((0, 1), (0, 2), (-1, 2), (1, 2), (0, 3))
        ],
    ),
    "12.3": Exercise(
        2.0,
        "the slope (d/2)·e^(−d²/8) has its maximum where 1 = d²/4: beyond it, a worse student is "
        "pulled less",
        (
            "the pull is a slope: of which function?",
            "the slope is (d/2)·e^(−d²/8); where does its own slope vanish?",
            "the derivative is ½(1 − d²/4)·e^(−d²/8)",
        ),
        tolerance=1e-2,
    ),
    "12.4": Exercise(
        None,
        "",
        (
            "which two terms does every objective in the table have?",
            "self.errors(student, draws) are denoising errors (K, 1 + m, B), the retained data's "
            "first; NegGrad's `losses` is an example to start from: baselines.NegGrad",
            "errors = self.errors(student, draws); yield errors[:, 0].mean(1) minus a small "
            "weight times self.forgotten(errors)[:, 0]",
        ),
        judge=labs.baseline,
    ),
}
