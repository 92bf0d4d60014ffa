"""Open tasks: several answers are right, and what is said of one is how good it is."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Any

from .exercise import Verdict

STEPS = 300  # primal steps of lesson 10's run
KNOBS = ("batch", "dual_lr", "dual_optimizer", "lr", "primal_steps")


def without_guidance(unguided: Callable[..., Any], low: float, high: float) -> Verdict:
    """14.1: the prediction at w = 1 from those at two guidances, on random tensors."""
    import torch

    text, empty = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    way = text - empty
    found = unguided(*(empty + w * way for w in (low, high)))
    if getattr(found, "shape", None) != text.shape:
        return False, "which does not return one tensor of the shape of the two"
    w = float(((found - empty) * way).sum() / way.square().sum())
    if not torch.allclose(found, empty + w * way, atol=1e-3):
        return False, "which makes what is no prediction of this prompt at any guidance"
    if abs(w - 1) > 1e-3:
        return False, f"which makes the prediction at w = {round(w, 3) + 0.0:g}"  # −0 is 0
    return True, (
        "a guided prediction is a straight line in w: two points of it give the text's own at "
        "w = 1, and the empty prompt's at w = 0"
    )


def mended(settings: Any, b: float) -> Verdict:
    """10.4: settings with which 300 primal steps from λ = 0 settle, scored by the Lagrangian.

    Right where the multiplier stays within 0.02 of λ* for the last third of the run, and the
    student's Lagrangian, (1 − λ*)·KL(p‖p*) above its optimum, is within 0.02 nats of it.
    """
    if not isinstance(settings, dict) or not settings.keys() <= set(KNOBS):
        return False, f"which is no dictionary of {', '.join(KNOBS)}"
    if settings.get("batch", 128) > 256:
        return False, f"which takes batches of {settings['batch']}: 256 at most"
    from .shifted import Shifted, train, two_gaussians

    run = train(two_gaussians(b), Shifted(), steps=STEPS, **({"batch": 128} | settings))
    best, aim = 1 - 1 / sqrt(2 * b), 1 - sqrt(2 * b)
    path = run.history["multipliers"][:, 0]
    last = path[-(len(path) // 3) :]
    away = max(abs(last - best))
    above = (1 - best) * (float(run.student.mean) - aim) ** 2 / 2
    seen = (
        f"λ strays {away:.3f} from λ* = {best:.3f} in the last third, and the student ends "
        f"{above:.4f} nats above the optimum"
    )
    if away > 0.02 or above > 0.02:
        return False, f"with which {seen} (asked: 0.02 of each; the run says {run.status})"
    return True, f"{seen}: dual steps that the student can follow"


def baseline(method: Any) -> Verdict:
    """12.4: an objective of one's own, trained for 40 steps from the digits' class 4.

    Right where at most one draw in ten at label 4 is a four, and the kernel distance of these draws
    to held-out digits of the other classes is at most 0.15: the optimum, data without fours, has
    both near 0.
    """
    from .. import digits, metrics
    from ..diffusion import DataSet
    from ..problems import ForwardKL
    from ..training.finetune import finetune
    from ..training.objective import Objective

    own = isinstance(method, type) and issubclass(method, Objective) and "losses" in vars(method)
    if not own or method.__module__.startswith("unlearnlab."):
        return False, "which is no class of yours: derive it from DataObjective and define `losses`"
    model, data = digits.load_model("conditional"), digits.data()
    fours, rest = DataSet(data.of(4).images), data.without(4).images
    problem = ForwardKL(model.labelled(None), [fours], thresholds=[1.0])
    how: dict[str, Any] = {"batch": 32, "steps": 40, "lr": 5e-4, "data": rest}
    run = finetune(problem, model.labelled(4), method=method, evaluate=False, progress=False, **how)
    drawn = run.student.sample(120, seed=0, steps=20)
    classifier = digits.load_classifier()
    share = float(metrics.class_shares(drawn, classifier)[4])
    others = digits.data(held_out=True).without(4).images
    apart = metrics.kernel_distance(drawn, others, classifier.descriptor(), subset=100)
    seen = f"{100 * share:.0f} % of its draws at label 4 are fours, at a kernel distance of "
    seen += f"{float(apart):.3f} to the other nine classes"
    if share > 0.1 or float(apart) > 0.15:
        return False, f"whose student misses: {seen} (asked: 10 % and 0.15)"
    best = "digits without fours have 0 % and 0.00, the class 4 itself has 99 % and 3.2"
    return True, f"{seen}; {best}"
