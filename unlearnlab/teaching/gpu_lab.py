"""The open task of lesson 17: a run of Algorithm D.3 that fits a card and an evening."""

from __future__ import annotations

from typing import Any

from .exercise import Verdict

# One step of D.3 on an H200 in bfloat16, at a batch of 4, ten sampling steps and one forgotten
# prompt (benchmarks/results/gpu.json): seconds with the likelihood and without it, GiB at the
# height of a step, and GiB of the UNet's weights among them.
MEASURED = {
    "Stable Diffusion v1.4": (3.85, 1.99, 4.95, 1.60),
    "bk-sdm-tiny": (1.83, 0.89, 2.65, 0.60),
}
OTHERS = (
    0.95  # GiB of text encoder, autoencoder and safety checker, which were not measured with it
)
NUMBERS = ("card_gib", "speed", "batch", "accumulation", "sampling_steps", "steps", "gib", "hours")
LATENTS, STEPS, SAMPLING = 16, 100, 10  # at least: in a step, in a run, in a chain
FILLED, LONGEST = 0.9, 24.0  # share of the card, and hours, at most
CLOSE = 0.1  # of the student's own numbers, relative


def takes(plan: dict[str, Any]) -> tuple[float, float]:
    """(GiB at the height of a step, hours) of a plan, from what was measured at a batch of 4.

    Time goes with rows: B(3S − 2) of a chain, 112 as measured, and 48 B of the likelihood. Memory
    beyond the weights goes with the batch, for one call of the UNet is differentiated at a time;
    this has been measured at one batch only.
    """
    with_likelihood, chain, peak, weights = MEASURED[plan["model"]]
    batch, rows = plan["batch"], plan["batch"] * (3 * plan["sampling_steps"] - 2)
    likelihood = (with_likelihood - chain) * batch / 4
    seconds = plan["accumulation"] * (chain * rows / 112 + likelihood) / plan["speed"]
    gib = OTHERS + weights + (peak - weights) * batch / 4
    return gib, seconds * plan["steps"] / 3600


def sized(plan: Any) -> Verdict:
    """17.4: a plan that fits its card and a day, with the student's own GiB and hours.

    Right where a step has 16 latents or more, a run 100 steps, a chain ten, memory fills at most
    nine tenths of the card, the run ends within a day, and both numbers are within 10 %.
    """
    wanted = {"model", *NUMBERS}
    if not isinstance(plan, dict) or plan.keys() != wanted:
        return False, f"which is no dictionary of {', '.join(sorted(wanted))}"
    if plan["model"] not in MEASURED:
        return False, f"whose model is none of {', '.join(MEASURED)}"
    if not all(isinstance(plan[k], int | float) and plan[k] > 0 for k in NUMBERS):
        return False, f"in which {', '.join(NUMBERS)} are not all positive numbers"
    if not (2 <= plan["card_gib"] <= 300 and 0.005 <= plan["speed"] <= 4):
        return False, "whose card does not exist: 2 to 300 GiB, and 0.005 to 4 of an H200's speed"
    few = {
        f"{LATENTS} latents a step": plan["batch"] * plan["accumulation"] < LATENTS,
        f"{STEPS} steps": plan["steps"] < STEPS,
        f"{SAMPLING} sampling steps": plan["sampling_steps"] < SAMPLING,
    }
    if any(few.values()):
        return False, f"which has fewer than {', '.join(name for name, it in few.items() if it)}"
    gib, hours = takes(plan)
    if gib > FILLED * plan["card_gib"] or hours > LONGEST:
        return False, (
            f"which takes {gib:.1f} GiB of {plan['card_gib']:.1f} and {hours:.1f} hours: at most "
            f"{FILLED:.0%} of the card are asked for, and {LONGEST:g} hours"
        )
    off = [name for name, found in (("gib", gib), ("hours", hours)) if far(plan[name], found)]
    if off:
        return False, f"which fits, but not as you say: look at {' and '.join(off)} again"
    return True, (
        f"it takes {gib:.1f} of {plan['card_gib']:.1f} GiB and {hours:.1f} hours. Halving the "
        "batch and doubling accumulation saves memory and leaves the rows, so the hours, as they "
        "are; fewer sampling steps save hours, and hardly any memory"
    )


def far(given: float, found: float) -> bool:
    """Whether a student's number is more than 10 % off."""
    return abs(given - found) > CLOSE * found
