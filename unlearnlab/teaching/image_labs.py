"""The open tasks of lessons 11 to 16, on digits and on prompts: what is said of a student's answer.

Each judges by properties that a student can measure as well, and scores against the best that is
known: data without the images, a coin's least price, an exact list of independent rates.
"""

from __future__ import annotations

from math import log
from typing import Any

from .exercise import Verdict, as_numbers

RETURNS, DISTANCE = 0.1, 0.03  # 11.5: of each image, and of all that is drawn
IN_ORDER, ERROR = 0.7, 1.1  # 13.1: pairs of pictures, and nats
FALLEN, MOVED = 0.5, 0.2  # 15.3: of the cacti, and by how much another rate may move
PAID = 10.0  # 15.3: nats along paths
BUDGET, LEFT = 5.0, 0.35  # 16.4: nats along paths, and the rate of the most frequent concept
PLACES = ("meadow", "desert", "night")


def emptied(student: Any) -> Verdict:
    """11.5: of each planted image at most a tenth comes back, at a kernel distance up to 0.03."""
    import torch

    from .. import digits, metrics
    from .copies import planted_images, returned, share_back

    _, planted = planted_images()
    back = share_back(returned(student, planted, n=128), planted)
    drawn = student.sample(300, seed=0, steps=20)
    describe = digits.load_classifier().descriptor()
    others = digits.data(held_out=True).images
    apart = float(metrics.kernel_distance(drawn, others, describe, subset=200))
    shares = ", ".join(f"{share:.2f}" for share in back)
    seen = f"{shares} of 128 noised copies come back, at a kernel distance of {apart:.3f}"
    if not torch.isfinite(drawn).all() or max(back) > RETURNS or apart > DISTANCE:
        return False, f"of which {seen} (asked: {RETURNS} of each, and {DISTANCE})"
    return True, (
        f"{seen}. The model that was never shown copies gives back 0.05, 0.12 and 0.08 of them, "
        "at a distance of -0.010"
    )


def trusted(choice: Any) -> Verdict:
    """13.1: a prompt, levels and noises whose log-ratio to "a cowboy" tells cacti, and is known.

    Right where of a picture with a cactus and one without the first has the larger ratio in 70 of
    100 pairs, and its standard error, root mean square, is at most 1.1 nats.
    """
    import numpy as np

    from ..diffusion import quadrature
    from ..stable_diffusion import TextToImage
    from ..stable_diffusion.classifier import ATTRIBUTES, load_classifier

    if not (isinstance(choice, tuple) and len(choice) == 3 and isinstance(choice[0], str)):
        return False, "which is not (prompt, levels, noises)"
    text, levels, noises = choice
    if levels * noises > 96:
        return False, f"which takes {levels * noises} noised copies a picture: 96 at most"
    pipeline = TextToImage.from_pretrained("tiny")
    q = pipeline.prompt("a cowboy")
    x = q.sample(64, steps=20, seed=4)
    has = load_classifier().attributes(pipeline.decode(x))[:, ATTRIBUTES.index("cactus")].numpy()
    how = {"levels": levels, "noises": noises, "replicates": 2}
    found = quadrature.log_ratios(x, q, [pipeline.prompt(text)], **how)
    ratio = -found.value.numpy()[:, 0]
    pairs = float((ratio[has][:, None] > ratio[~has]).mean())
    error = float(np.sqrt((found.stderr.numpy() ** 2).mean()))
    seen = f"{100 * pairs:.0f} of 100 pairs are in order, at a standard error of {error:.2f} nats"
    if pairs < IN_ORDER or error > ERROR:
        return False, f"with which {seen} (asked: {100 * IN_ORDER:.0f}, and {ERROR:g})"
    return True, f"{seen}: what differs from q in the cactus alone leaves little else in the ratio"


def forgot_the_cactus(model: Any) -> Verdict:
    """15.3: half of the cacti at most, other rates within 0.2, for up to ten nats along paths."""
    from ..stable_diffusion.classifier import load_classifier, rates_of

    source = getattr(model, "source", None) or getattr(getattr(model, "retain", 0), "source", None)
    if source is None:
        return False, "which is no model of prompts: hand in a ComposedModel, or run.student"
    q, classify = source.prompt("a cowboy"), load_classifier()
    before, after = (
        rates_of(source.decode(one.sample(64, steps=15, seed=1)), classify) for one in (q, model)
    )
    moved = {k: after[k] - before[k] for k in ("cowboy", "horse", *PLACES)}
    most = max(moved, key=lambda k: abs(moved[k]))
    paid = float(model.kl(q, kind="path", samples=64, steps=20))
    left, was = after["cactus"], before["cactus"]
    least = coin(left, 0.3)
    seen = (
        f"cacti fall from {was:.2f} to {left:.2f} for {paid:.1f} nats along paths (no model can do "
        f"with less than {least:.2f} from the drawings' 0.30), and what moves most besides is the "
        f"{most}, by {moved[most]:+.2f}"
    )
    if left > FALLEN * was or abs(moved[most]) > MOVED or paid > PAID:
        return False, f"with which {seen} (asked: half the cacti, {MOVED} and {PAID:g} nats)"
    return True, seen


def within_budget(multipliers: Any) -> Verdict:
    """16.4: three multipliers, whose composed model pays up to five nats along its chains.

    Right where it draws each of the three in at most 35 of 100 pictures. (λ of the reverse KL.)
    """
    import numpy as np

    from ..diffusion import ComposedModel
    from ..stable_diffusion import TextToImage
    from ..stable_diffusion.classifier import load_classifier, rates_of

    given = as_numbers(multipliers)
    if isinstance(given, str) or given.shape != (3,):
        return False, "which is not three multipliers in one list"
    if given.min() < 0 or given.sum() >= 1:
        return False, "which need to be at least 0 and to sum to less than 1"
    pipeline = TextToImage.from_pretrained("tiny")
    texts = ("a cowboy with a horse", "a cowboy with a cactus", "a cowboy at night")
    q, forget = pipeline.prompt("a cowboy"), [pipeline.prompt(text) for text in texts]
    model = ComposedModel(q, forget, given / (1 - given.sum()))
    paid = float(model.kl(q, kind="path", samples=80, steps=12, seed=5))
    drawn = pipeline.decode(model.sample(80, sampler="ddpm", steps=12, seed=5))
    found = rates_of(drawn, load_classifier())
    rates = np.array([found[k] for k in ("horse", "cactus", "night")])
    least = sum(coin(rate, of) for rate, of in zip(rates, (0.6, 0.3, 0.1), strict=True))
    seen = (
        f"horse {rates[0]:.2f}, cactus {rates[1]:.2f} and night {rates[2]:.2f} for {paid:.1f} nats "
        f"along paths, where these rates cost {least:.2f} at least"
    )
    if paid > BUDGET or rates.max() > LEFT:
        return False, f"with which you get {seen} (asked: {LEFT} of each, {BUDGET:g} nats)"
    return True, seen


def coin(share: float, of: float) -> float:
    """KL of a coin of this share from another, nats."""
    parts = ((share, of), (1 - share, 1 - of))
    return sum(one * log(one / other) for one, other in parts if one > 0)
