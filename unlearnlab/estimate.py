"""Numbers with error bars."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """A Monte-Carlo estimate, usable as a float.

    Attributes:
        value: the estimate.
        stderr: its standard error.
        truncation: what the ends of the log-SNR range leave out, estimated; 0 where nothing is cut.
    """

    value: float
    stderr: float = 0.0
    truncation: float = 0.0

    def __float__(self) -> float:
        return self.value

    def __repr__(self) -> str:
        cut = f" (truncated by about {self.truncation:.1g})" if abs(self.truncation) > 1e-4 else ""
        return f"{self.value:.4f} ± {self.stderr:.4f}{cut}"


def stderr(value: float | Estimate) -> float:
    """Standard error of an estimate; 0 of a plain number."""
    return value.stderr if isinstance(value, Estimate) else 0.0
