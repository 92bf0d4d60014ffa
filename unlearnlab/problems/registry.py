"""Formulations by name, and the refusal of what is none."""

from __future__ import annotations

from typing import Any

from .base import REGISTRY, Problem


def registered(name: str) -> type[Problem]:
    """The formulation of this name.

    Raises:
        ValueError: there is none.
    """
    if name not in REGISTRY:
        raise ValueError(
            f"there is no problem called {name!r}: import the module that defines it first; known "
            f"are {', '.join(sorted(REGISTRY))}"
        )
    return REGISTRY[name]


def require_problem(problem: Any) -> None:
    """Raise a TypeError unless `problem` is one."""
    if not isinstance(problem, Problem):
        raise TypeError(
            "problem must be a ReverseKL, ForwardKL, Likelihood or Moments; got "
            f"{type(problem).__name__}"
        )
