"""The exercises of lessons 13 to 17: prompts of a tiny Stable Diffusion, and a real one."""

from __future__ import annotations

from math import log, sqrt

from . import gpu_lab, image_labs, labs, levels
from .exercise import Exercise

PROMPTS = {
    "13.1": Exercise(
        None,
        "",
        (
            "which prompt differs from “a cowboy” in the cactus alone?",
            "an error falls with the noised copies: levels times noises, up to 96",
            "(“a cowboy with ...”, 24, 4)",
        ),
        judge=image_labs.trusted,
    ),
    "13.2": Exercise(
        lambda error, factor: error / sqrt(2 * log(factor)),
        "the mean of e^(r̂/τ) is too large by e^(σ²/2τ²), and τ divides σ before it is squared",
        (
            "what does noise in an exponent do to the mean?",
            "e^(r̂/τ) has a standard error of σ/τ in its exponent",
            "the factor is e^(½(σ/τ)²): set it to what is asked",
        ),
        tolerance=2e-3,
        variants=[
            {"error": error, "factor": factor}
            for error, factor in ((2, 1.1), (3, 1.1), (2, 1.05), (1.5, 1.2), (3, 1.5))
        ],
    ),
    "13.3": Exercise(
        lambda share, cap: share * min(cap, 1 / share),
        "the ratio is 1/π on the part and 0 elsewhere: a cap above 1/π cuts nothing and leaves a "
        "mean of 1, one below leaves π·c",
        (
            "on which pictures is the ratio not zero, and what is it there?",
            "a mean of two values: min(1/π, c) with probability π, and 0 otherwise",
            "your.share * min(your.cap, 1 / your.share)",
        ),
        variants=[
            {"share": share, "cap": cap}
            for share, cap in ((0.1, 4), (0.2, 3), (0.25, 2), (0.1, 7), (0.4, 2))
        ],
    ),
    "14.1": Exercise(
        None,
        "",
        (
            "how does a guided prediction change, when w grows by one?",
            "it is a straight line in w, and two of its points are known",
            "each unit of w adds (high − low)/(your.high − your.low); go from your.low to 1",
        ),
        variants=[
            {"low": low, "high": high} for low, high in ((2, 4), (3, 5), (2, 5), (1.5, 3), (3, 4))
        ],
        judge=labs.without_guidance,
    ),
    "14.2": Exercise(
        lambda w: (w - 1) / w,
        "w = 1 + u and u = λ/(1 − λ): so 1 − λ = 1/w, and no guidance reaches λ = 1",
        (
            "compare the two formulas: which w is which u?",
            "w = 1 + u, and u = λ/(1 − λ)",
            "λ = u/(1 + u), with u = your.w − 1",
        ),
        variants=[{"w": w} for w in (3, 2, 5, 7.5, 1.5)],
        tolerance=2e-4,
    ),
    "14.3": Exercise(
        None,
        "",
        (
            "at which noise levels is it settled whether there is a horse?",
            "u may be a step: so much below some γ, and nothing above; try both halves",
            "def strength(gamma): return 2.0 if gamma < 2 else 0.0 is a start: cut further down",
        ),
        judge=levels.where_it_counts,
    ),
    "14.4": Exercise(
        lambda inputs, outputs, rank: rank * (inputs + outputs) / (inputs * outputs),
        "A has rank × inputs numbers and B outputs × rank: they grow with the sum of the sides, W "
        "with their product",
        (
            "which shapes do A and B have, if BA has that of W?",
            "B is outputs × rank, A is rank × inputs",
            "rank·(inputs + outputs), over inputs·outputs",
        ),
        variants=[
            {"inputs": 768, "outputs": outputs, "rank": rank}
            for outputs, rank in ((320, 8), (640, 8), (1280, 16), (320, 4), (1280, 8))
        ],
        tolerance=1e-4,
    ),
    "15.1": Exercise(
        0.550661,
        "counting one attribute is coarser than looking at pictures, so the KL of two coins bounds "
        "that of the models from below",
        (
            "what is the least that must have changed?",
            "the attribute is a coin: there or not",
            "KL of two coins, in nats: p·log(p/q) + (1 − p)·log((1 − p)/(1 − q))",
        ),
    ),
    "15.2": Exercise(
        3.0,
        "u = λ/(1 − λ), and erasing at guidance η is RU at u = η",
        (
            "lesson 12: which multiplier is a guidance?",
            "u = λ/(1 − λ), and η = u",
            "put the λ of the lesson into u",
        ),
    ),
    "15.3": Exercise(
        None,
        "",
        (
            "what must q₁ have in common with “a cowboy”?",
            "a composed model needs no training: how strong must it be?",
            "ul.ComposedModel(cowboy, [sd.prompt(...)], [u]), with u from 0.5 to 2",
        ),
        judge=image_labs.forgot_the_cactus,
    ),
    "16.1": Exercise(
        2.813411,
        "independent rates multiply, and −log turns the product into a sum",
        (
            "how often does q draw both at once?",
            "−log of the rate; independent rates multiply",
            "−log of (rate of a horse × rate of a night)",
        ),
    ),
    "16.2": Exercise(
        0.789474,
        "equal weights of Λ/3 have the guidance (Λ/3)/(1 − Λ), for each of the three",
        (
            "first find the guidance that the single concept gets",
            "first u₁ = λ₁/(1 − Λ)",
            "then solve Λ/3/(1 − Λ) = u₁ for Λ",
        ),
    ),
    "16.3": Exercise(
        1.378326,
        "the nearest distribution in which an event is sure is q given the event",
        (
            "which p avoids all of them at the least cost?",
            "KL of q given an event to q is −log of its probability",
            "−log of the share of pictures without any of them",
        ),
    ),
    "16.4": Exercise(
        None,
        "",
        (
            "which of the three is above its bound, and by how much?",
            "a multiplier of 0 costs nothing: the night is rare already",
            "begin at the multipliers of b = 8 and walk",
        ),
        judge=image_labs.within_budget,
    ),
    "17.1": Exercise(
        840.389,
        "(q₁/q_∅)^(1/τ) divides log q₁/q_∅ by τ, so a small factor is τ times its logarithm",
        (
            "what is a factor of 0.95 in nats?",
            "a factor of 0.95 in (q₁/q_∅)^(1/τ) is how much in log q₁/q_∅?",
            "−τ·log 0.95, at the lesson's τ",
        ),
        tolerance=2e-3,
    ),
    "17.2": Exercise(
        2080,
        "every pass of every sample counts, the second pass of the chain as well",
        (
            "what does one step pay for?",
            "chain, second pass and likelihood by the table, times 4 batches",
            "add the table's rows, then multiply by 4",
        ),
        tolerance=1e-9,
    ),
    "17.3": Exercise(
        5.25,
        "one transition is differentiated at a time, so that only latents and predictions are kept",
        (
            "what of a chain must be kept, and what can be computed again?",
            "11 latents and 10 predictions for each sample of the batch",
            "21 arrays of 16 384 numbers of 4 bytes, times the batch, in MiB",
        ),
    ),
    "17.4": Exercise(
        None,
        "",
        (
            "which of the table's numbers grow with the batch, and which with the rows?",
            "hours: the chain's seconds go with B·(3S − 2) rows, the likelihood's with B; memory "
            "beyond the weights goes with B; a slower card takes 1/speed as long",
            "seconds of a step = accumulation·(chain·B(3S − 2)/112 + likelihood·B/4)/speed, and "
            "GiB = 0.95 + weights + (peak − weights)·B/4",
        ),
        judge=gpu_lab.sized,
    ),
}
