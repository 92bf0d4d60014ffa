"""What a checkpoint must hold to be put into a run; see `Loop.restore`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import checkpoint


@contextmanager
def restoring(path: Path | None) -> Iterator[None]:
    """A checkpoint whose contents are put into a run, named where that fails.

    Raises:
        ValueError: something is missing in it, or does not fit.
    """
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
        raise ValueError(
            f"{path} disagrees with itself or with this run ({error}); {checkpoint.AWAY}; nothing "
            "was overwritten"
        ) from None


def require_fits(state: dict[str, Any], own: dict[str, Any]) -> None:
    """Refuse a state whose parts disagree with each other or with a run's.

    Args:
        own: the run's state as it is.

    Raises:
        ValueError: what disagrees.
    """
    rounds = {key: len(values) for key, values in state["history"].items()}
    if rounds != dict.fromkeys(own["history"], state["round"]):
        raise ValueError(f"it is of round {state['round']}, and its history of {rounds}")
    if not 0 <= state["step"] <= state["steps"]:
        raise ValueError(f"it is of step {state['step']} of {state['steps']}")
    if state["steps"] > own["steps"]:
        raise ValueError(
            f"it is of a run of {state['steps']} steps, and this one is of {own['steps']}: a run "
            "is continued with as many or more"
        )
    for name in ("student", "average", "multipliers"):
        shapes, others = (_shapes(one[name]) for one in (state, own))
        if shapes != others:
            raise ValueError(f"its {name} has shapes {shapes}, where {others} are asked for")
    for name in ("student", "average", "multipliers", "primal", "dual"):
        if not checkpoint.finite(state[name]):
            raise ValueError(f"its {name} is not finite")


def _shapes(tensors: Any) -> list[tuple[int, ...]]:
    return [tuple(one.shape) for one in (tensors if isinstance(tensors, list) else [tensors])]
