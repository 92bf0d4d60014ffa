"""The exercises of lessons 10 to 15: digits, a tiny Stable Diffusion, and a real one."""

from __future__ import annotations

from . import image_labs, labs
from .exercise import Exercise

IMAGES = {
    "10.1": Exercise(
        2.244778,
        "a point mass has all of its weight at x, so that KL(δ_x‖q) is −log q(x)",
        (
            "which mass does q give to the image?",
            "KL(δ_x‖q) = log 1/q(x)",
            "natural logarithm, and the image's share of the data",
        ),
    ),
    "10.2": Exercise(
        160 / 1639,
        "what is subtracted from one image is shared out by the denominator, to all",
        (
            "write the target's mass at one image",
            "(μ − λ)/(1 − Λ), and Λ is the sum of three weights",
            "put in the weights of all three, then divide",
        ),
        tolerance=1e-4,
    ),
    "10.3": Exercise(
        180 / 1879,
        "(μ − λ)/(1 − λ) = μ² has this root: λ lies just below the image's mass",
        (
            "which mass is asked for, and which does the target have?",
            "(μ − λ)/(1 − λ) is the mass that is left",
            "solve (μ − λ)/(1 − λ) = μ² for λ",
        ),
    ),
    "10.4": Exercise(
        1.961659,
        "a Bayes factor is a difference of log odds, whatever the share was before",
        (
            "compare odds, not shares",
            "odds are p/(1 − p), and their logarithms subtract",
            "log odds before less log odds after",
        ),
    ),
    "10.5": Exercise(
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
    "11.1": Exercise(
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
    "11.2": Exercise(
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
    "11.3": Exercise(
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
    "11.4": Exercise(
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
    "12.1": Exercise(
        None,
        "",
        (
            "which prompt differs from “a cowboy” in the cactus alone?",
            "an error falls with the evaluations: levels times noises, up to 96",
            "(“a cowboy with ...”, 24, 4)",
        ),
        judge=image_labs.trusted,
    ),
    "12.2": Exercise(
        4.58087,
        "the mean of e^(r̂/τ) is too large by e^(σ²/2τ²), and τ divides σ before it is squared",
        (
            "what does noise in an exponent do to the mean?",
            "e^(r̂/τ) has a standard error of σ/τ in its exponent",
            "the factor is e^(½(σ/τ)²): set it to what is asked",
        ),
        tolerance=2e-3,
    ),
    "12.3": Exercise(
        None,
        "",
        (
            "where does guidance start, and in which direction does it go?",
            "start at the empty prompt and go w times the difference",
            "at w = 0 it is the empty prompt's prediction, at w = 1 the text's",
        ),
        judge=labs.guides,
    ),
    "13.1": Exercise(
        0.550661,
        "counting one attribute is coarser than looking at pictures, so the KL of two coins bounds "
        "that of the models from below",
        (
            "what is the least that must have changed?",
            "the attribute is a coin: there or not",
            "KL of two coins, in nats: p·log(p/q) + (1 − p)·log((1 − p)/(1 − q))",
        ),
    ),
    "13.2": Exercise(
        3.0,
        "u = λ/(1 − λ), and erasing at guidance η is RU at u = η",
        (
            "lesson 11: which multiplier is a guidance?",
            "u = λ/(1 − λ), and η = u",
            "put the λ of the lesson into u",
        ),
    ),
    "13.3": Exercise(
        None,
        "",
        (
            "what must q₁ have in common with “a cowboy”?",
            "a composed model needs no training: how strong must it be?",
            "ul.ComposedModel(cowboy, [sd.prompt(...)], [u]), with u from 0.5 to 2",
        ),
        judge=image_labs.forgot_the_cactus,
    ),
    "14.1": Exercise(
        2.813411,
        "independent rates multiply, and −log turns the product into a sum",
        (
            "how often does q draw both at once?",
            "−log of the rate; independent rates multiply",
            "−log of (rate of a horse × rate of a night)",
        ),
    ),
    "14.2": Exercise(
        0.789474,
        "equal weights of Λ/3 have the guidance (Λ/3)/(1 − Λ), for each of the three",
        (
            "first find the guidance that the single concept gets",
            "first u₁ = λ₁/(1 − Λ)",
            "then solve Λ/3/(1 − Λ) = u₁ for Λ",
        ),
    ),
    "14.3": Exercise(
        1.378326,
        "the nearest distribution in which an event is sure is q given the event",
        (
            "which p avoids all of them at the least cost?",
            "KL of q given an event to q is −log of its probability",
            "−log of the share of pictures without any of them",
        ),
    ),
    "14.4": Exercise(
        None,
        "",
        (
            "which of the three is above its bound, and by how much?",
            "a multiplier of 0 costs nothing: the night is rare already",
            "begin at the multipliers of b = 8 and walk",
        ),
        judge=image_labs.within_budget,
    ),
    "15.1": Exercise(
        840.389,
        "(q₁/q_∅)^(1/τ) divides log q₁/q_∅ by τ, so a small factor is τ times its logarithm",
        (
            "what is a factor of 0.95 in nats?",
            "a factor of 0.95 in (q₁/q_∅)^(1/τ) is how much in log q₁/q_∅?",
            "−τ·log 0.95, at the lesson's τ",
        ),
        tolerance=2e-3,
    ),
    "15.2": Exercise(
        2080,
        "every pass of every sample counts, the second pass of the chain as well",
        (
            "what does one step pay for?",
            "chain, second pass and likelihood by the table, times 4 batches",
            "add the table's rows, then multiply by 4",
        ),
        tolerance=1e-9,
    ),
    "15.3": Exercise(
        5.25,
        "one transition is differentiated at a time, so that only latents and predictions are kept",
        (
            "what of a chain must be kept, and what can be computed again?",
            "11 latents and 10 predictions for each sample of the batch",
            "21 arrays of 16 384 numbers of 4 bytes, times the batch, in MiB",
        ),
    ),
}
