"""What `python -m unlearnlab.stable_diffusion --config NAME_OR_FILE` is asked for."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from .. import baselines
from ..problems import ForwardKL, Likelihood, Problem, ReverseKL
from ..training.denoising import DataObjective
from ..training.finetune import BATCH, METHODS
from ..training.objective import primal_dual
from ..training.reverse_kl import DualOnlyObjective
from ..training.tilt import Tilted

PROBLEMS: dict[str, type[Problem]] = {
    "reverse-kl": ReverseKL,
    "forward-kl": ForwardKL,
    "likelihood": Likelihood,
}
BASELINES: dict[str, Any] = {"esd": baselines.ESD, "vdu": baselines.VDU}
OTHERS: dict[str, Any] = {"tilt": Tilted, "dual-only": DualOnlyObjective, **BASELINES}
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
ROLES = ("retain", "forget", "unrelated")
CONFIGS = Path(__file__).parent / "configs"


@dataclass
class Config:
    """One run.

    Attributes:
        model: "tiny", a diffusers folder or a hub id.
        problem: reverse-kl, forward-kl or likelihood.
        retain: the prompt to keep. forget: those to unlearn. unrelated: others to watch.
        prompts: instead, a CSV file with columns `role` (retain, forget, unrelated) and `prompt`.
        thresholds, relative: one of them, as in the problem.
        statistic, temperature, cap: of `Likelihood`. reference: its prompt; "" for what the model
            draws without one, and None for the one to retain.
        method: of `finetune`, or a baseline (esd, vdu).
        guidance: of the prompts while training; 1 for none.
        sample_guidance, sample_steps, samples: of the pictures in the report.
        out: folder for the checkpoint, the student and the report.
        tracker: of accelerate, such as tensorboard; by default none.
        grid_every: rounds between sample grids; 0 for none.
        options: of `finetune` and the method: steps, batch, lr, dual_lr, sampling_steps, ...
    """

    model: str
    problem: str
    out: str
    retain: str = ""
    forget: list[str] = field(default_factory=list)
    unrelated: list[str] = field(default_factory=list)
    prompts: str | None = None
    thresholds: Any = None
    relative: Any = None
    statistic: str = "ratio"
    temperature: Any = "dim"
    cap: float | None = None
    reference: str | None = None
    method: str = "primal-dual"
    rank: int = 8
    guidance: float = 1.0
    sample_guidance: float = 1.0
    sample_steps: int = 25
    samples: int = 16
    dtype: str = "float32"
    seed: int = 0
    tracker: str | None = None
    grid_every: int = 0
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.prompts is not None:
            self._read(Path(self.prompts))
        if not self.retain or not self.forget:
            raise ValueError("a run needs a prompt to retain and at least one to forget")
        _one_of("problem", self.problem, PROBLEMS)
        _one_of("method", self.method, [*METHODS, *BASELINES])
        _one_of("dtype", self.dtype, DTYPES)
        own = {one.name for one in fields(PROBLEMS[self.problem].Options)}
        for name, given in (("reference", self.reference), ("cap", self.cap)):
            if given is not None and "cap" not in own:
                raise ValueError(f"{name} is of problem likelihood; {self.problem} has none")

    def _read(self, path: Path) -> None:
        """Take the prompts from a CSV file."""
        if not path.is_file():
            raise FileNotFoundError(f"prompts {str(path)!r} is no file")
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        if not rows or {"role", "prompt"} - rows[0].keys():
            raise ValueError(f"{path} must have columns role and prompt, and rows")
        for line, row in enumerate(rows, 2):
            _one_of(f"role in line {line} of {path}", row["role"], ROLES)
        found = {role: [r["prompt"] for r in rows if r["role"] == role] for role in ROLES}
        if len(found["retain"]) != 1:
            raise ValueError(f"{path} must have one row to retain; it has {len(found['retain'])}")
        self.retain, self.forget = found["retain"][0], found["forget"]
        self.unrelated = found["unrelated"]

    @classmethod
    def load(cls, name: str | Path, **changes: Any) -> Config:
        """From a YAML file, or the name of a configuration that the package ships.

        Args:
            changes: values in the place of the file's; None for none.

        Raises:
            FileNotFoundError: no such file, and none of this name ships.
            ValueError: not YAML, an unknown key, or a value that is not known.
        """
        import yaml  # type: ignore[import-untyped]

        path = _file(name)
        try:
            given = yaml.safe_load(path.read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise ValueError(f"config {str(path)!r} is not YAML ({error})") from None
        if not isinstance(given, Mapping):
            raise ValueError(f"config {str(path)!r} must hold keys and values")
        given = {**given, **{key: value for key, value in changes.items() if value is not None}}
        known = [one.name for one in fields(cls)]
        for key in given:
            _one_of(f"key in {path}", key, known)
        missing = [name for name in ("model", "problem", "out") if name not in given]
        if missing:
            raise ValueError(f"config {str(path)!r} lacks {', '.join(missing)}")
        return cls(**given)

    @property
    def rows(self) -> int:
        """Of the student's call in a training step: some objectives stack several batches."""
        goal: Any = OTHERS.get(self.method) or primal_dual(PROBLEMS[self.problem])
        batch = self.options.get("batch", BATCH)
        if not issubclass(goal, DataObjective):
            return batch
        return batch * (goal.uses_retained + len(self.forget))

    def made(self, retain: Any, forget: list[Any], reference: Any = None) -> Problem:
        """The problem, on models."""
        kind: Any = PROBLEMS[self.problem]
        own = [one.name for one in fields(kind.Options) if hasattr(self, one.name)]
        more = {name: getattr(self, name) for name in own}
        if reference is not None:
            more["reference"] = reference
        return kind(retain, forget, self.thresholds, relative=self.relative, **more)


def shipped() -> list[str]:
    """Names of the configurations that the package ships."""
    return sorted(path.stem for path in CONFIGS.glob("*.yaml"))


def _file(name: str | Path) -> Path:
    """A file, else what ships under its name."""
    if Path(name).is_file():
        return Path(name)
    if str(name) not in shipped():
        raise FileNotFoundError(
            f"config {str(name)!r} is no file and no configuration that ships: those are "
            f"{', '.join(shipped())}"
        )
    return CONFIGS / f"{name}.yaml"


def _one_of(name: str, value: Any, known: Any) -> None:
    if value not in list(known):
        close = difflib.get_close_matches(str(value), list(known), 1)
        guess = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"{name} must be one of {', '.join(known)}; got {value!r}{guess}")
