"""What `python -m unlearnlab.stable_diffusion --config NAME_OR_FILE` is asked for."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from .. import baselines
from ..diffusion.schedule import LARGEST_SEED
from ..problems import ForwardKL, Likelihood, Problem, ReverseKL
from ..training.denoising import DataObjective
from ..training.finetune import BATCH, METHODS, objective_of
from ..training.settings import Settings, split_options
from . import fields
from .fields import Check
from .lora_file import found_at
from .prompt_file import read_prompts
from .reading import read_yaml

PROBLEMS: dict[str, type[Problem]] = {
    "reverse-kl": ReverseKL,
    "forward-kl": ForwardKL,
    "likelihood": Likelihood,
}
BASELINES: dict[str, Any] = {"esd": baselines.ESD, "vdu": baselines.VDU}
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
CONFIGS = Path(__file__).parent / "configs"
CHECKS: dict[str, Check] = {
    "model": fields.path,
    "init": fields.optional(fields.path),
    "variant": fields.optional(fields.text),
    "problem": fields.among(PROBLEMS),
    "out": fields.path,
    "retain": fields.prompt,
    "forget": fields.prompts,
    "unrelated": fields.prompts,
    "prompts": fields.optional(fields.path),
    "thresholds": fields.optional(fields.numbers),
    "relative": fields.optional(fields.numbers),
    "statistic": fields.among(("ratio", "density")),
    "temperature": fields.either("dim", fields.positive),
    "cap": fields.optional(fields.positive),
    "reference": fields.optional(fields.prompt),
    "method": fields.among([*METHODS, *BASELINES]),
    "rank": fields.whole(1),
    "layers": fields.optional(fields.names),
    "size": fields.optional(fields.sides),
    "offload": fields.switch,
    "guidance": fields.not_negative,
    "sample_guidance": fields.not_negative,
    "sample_steps": fields.whole(1),
    "samples": fields.whole(1),
    "dtype": fields.among(DTYPES),
    "seed": fields.whole(0, LARGEST_SEED),
    "tracker": fields.optional(fields.text),
    "grid_every": fields.whole(0),
    "safety": fields.optional(fields.switch),
    "checkpointing": fields.switch,
    "attention_slicing": fields.switch,
    "options": fields.mapping,
}
PROMPTS = ("retain", "forget", "unrelated", "reference")
OF_FINETUNE: dict[str, Check] = {
    "steps": fields.whole(1),
    "batch": fields.whole(2),
    "lr": fields.positive,
    "dual_lr": fields.optional(fields.not_negative),
    "multipliers": fields.optional(fields.numbers),
    "until": fields.optional(fields.among(["met"])),
    "sampler": fields.optional(fields.among(["ddim", "ddpm"])),
    "sampling_steps": fields.whole(1),
    "evaluate": fields.switch,
    "progress": fields.optional(fields.switch),
}


@dataclass
class Config:
    """One run.

    Attributes:
        model: "tiny", a diffusers folder or a hub id. variant: of its weights, such as fp16.
        problem: reverse-kl, forward-kl or likelihood.
        retain: the prompt to keep. forget: those to unlearn. unrelated: others to watch.
        prompts: instead, a CSV file with columns `role` (retain, forget, unrelated) and `prompt`.
        thresholds, relative: one of them, as in the problem.
        statistic, temperature, cap: of `Likelihood`. reference: its prompt; "" for what the model
            draws without one, and None for the one to retain.
        method: of `finetune`, or a baseline (esd, vdu).
        rank, layers: of the student, as in `LoRA`.
        size, offload: of the pipeline, as in `TextToImage`.
        init: a LoRA to start from, whose rank and layers are kept: its file or folder, or an
            earlier run's.
        guidance: of the prompts while training; 1 for none.
        sample_guidance, sample_steps, samples: of the pictures in the report.
        out: folder for the checkpoint, the student and the report.
        tracker: of accelerate, such as tensorboard; by default none.
        grid_every: rounds between sample grids; 0 for none.
        safety: on asks for the pipeline's safety checker, off leaves it out; by default there is
            one where the pipeline has one.
        checkpointing: compute a step's middle again for its gradient in the place of keeping it.
        attention_slicing: attention in parts, one after the other.
        options: of `finetune` and the method: steps, batch, lr, dual_lr, sampling_steps, ...
    """

    model: str
    problem: str
    out: str
    retain: str = ""
    forget: list[str] = field(default_factory=list)
    unrelated: list[str] = field(default_factory=list)
    prompts: str | None = None
    variant: str | None = None
    thresholds: Any = None
    relative: Any = None
    statistic: str = "ratio"
    temperature: Any = "dim"
    cap: float | None = None
    reference: str | None = None
    method: str = "primal-dual"
    rank: int = 8
    layers: Any = None
    size: Any = None
    offload: bool = False
    init: str | None = None
    guidance: float = 1.0
    sample_guidance: float = 1.0
    sample_steps: int = 25
    samples: int = 16
    dtype: str = "float32"
    seed: int = 0
    tracker: str | None = None
    grid_every: int = 0
    safety: bool | None = None
    checkpointing: bool = False
    attention_slicing: bool = False
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, check in CHECKS.items():
            setattr(self, name, check(name, getattr(self, name)))
        if self.prompts is not None:
            self._read(Path(self.prompts))
        if not self.retain or not self.forget:
            raise ValueError("a run needs a prompt to retain and at least one to forget")
        self._require_prompts()
        self._require_problem()
        self._require_init()
        self.options = self._checked_options()

    def _read(self, path: Path) -> None:
        """Take the prompts from a CSV file."""
        if self.retain or self.forget or self.unrelated:
            raise ValueError("give prompts in a file, or retain, forget and unrelated; not both")
        found = read_prompts(path)
        if len(found["retain"]) != 1:
            raise ValueError(f"{path} must have one row to retain; it has {len(found['retain'])}")
        self.retain, self.forget = found["retain"][0], found["forget"]
        self.unrelated = found["unrelated"]

    def _require_prompts(self) -> None:
        """Refuse a prompt to forget that is empty, and any prompt that is given twice."""
        seen = {self.retain: "the prompt to retain"}
        for name in ("forget", "unrelated"):
            for i, prompt in enumerate(getattr(self, name)):
                if not prompt and name == "forget":
                    raise ValueError(f"forget[{i}] is empty: name what to forget")
                if prompt in seen:
                    raise ValueError(f"{name}[{i}] is {seen[prompt]}; got {prompt!r}")
                seen[prompt] = f"{name}[{i}] again"

    def _require_problem(self) -> None:
        """Refuse thresholds that do not fit the prompts, and options of another problem."""
        if (self.thresholds is None) == (self.relative is None):
            raise ValueError("give either thresholds or relative, not both or neither")
        for name in ("thresholds", "relative"):
            given, count = getattr(self, name), len(self.forget)
            if isinstance(given, list) and len(given) != count:
                raise ValueError(
                    f"{name} must be one number, or one for each of {count} prompts to forget; "
                    f"got {given}"
                )
        own = {one.name for one in dataclasses.fields(PROBLEMS[self.problem].Options)}
        usual = {one.name: one.default for one in dataclasses.fields(self)}
        for name in ("reference", "cap", "statistic", "temperature"):
            if getattr(self, name) != usual[name] and "cap" not in own:
                raise ValueError(f"{name} is of problem likelihood; {self.problem} has none")
        if self.reference is not None and self.statistic != "ratio":
            raise ValueError(f"reference is of statistic ratio; {self.statistic} has none")

    def _require_init(self) -> None:
        """Refuse a LoRA to start from that is not there, or that nothing would start from."""
        if self.init is None:
            return
        if self.layers is not None:
            raise ValueError("layers are of a new LoRA; the one of init keeps its own")
        if self.method == "dual-only":
            raise ValueError("init is of methods with a student; dual-only has none")
        try:
            found_at(self.init)
        except FileNotFoundError as error:
            raise ValueError(f"init: {error}") from None

    def _checked_options(self) -> dict[str, Any]:
        """The options, each of the kind that `finetune`, its settings and the method take."""
        own = [*dataclasses.fields(Settings), *dataclasses.fields(self.goal.Options)]
        checks = {one.name: fields.typed(one.type) for one in own}
        del checks["seeds"]
        checks.pop("data", None)  # samples, which a file of settings cannot hold
        checks |= OF_FINETUNE
        for name in self.options:
            fields.one_of("option", name, checks)
        options = {
            name: checks[name](f"options: {name}", value) for name, value in self.options.items()
        }
        more = {name: value for name, value in options.items() if name not in OF_FINETUNE}
        if "sampling_steps" in options and hasattr(self.goal.Options, "sampling_steps"):
            more["sampling_steps"] = options["sampling_steps"]
        try:
            settings, _ = split_options(more, self.goal.Options)
            Settings(options.get("steps", 1), options.get("lr", 1e-3), [self.seed], **settings)
        except (TypeError, ValueError) as error:
            raise ValueError(f"options: {error}") from None
        return options

    @classmethod
    def load(cls, name: str | Path, **changes: Any) -> Config:
        """From a YAML file, or the name of a configuration that the package ships.

        Args:
            changes: values in the place of the file's; None for none.

        Raises:
            FileNotFoundError: no such file, and none of this name ships; or no file of prompts.
            ValueError: not YAML, an unknown key, or a value that is not known or of another kind;
                it names the file and the field.
        """
        path = _file(name)
        given = read_yaml(path, prompts=PROMPTS)
        given = {**given, **{key: value for key, value in changes.items() if value is not None}}
        known = [one.name for one in dataclasses.fields(cls)]
        for key in given:
            fields.one_of(f"key in {path}", key, known)
        missing = [name for name in ("model", "problem", "out") if name not in given]
        if missing:
            raise ValueError(f"config {str(path)!r} lacks {', '.join(missing)}")
        try:
            return cls(**given)
        except ValueError as error:
            raise ValueError(f"config {str(path)!r}: {error}") from None

    @property
    def goal(self) -> Any:
        """The class of what is trained on."""
        return objective_of(BASELINES.get(self.method, self.method), PROBLEMS[self.problem])

    @property
    def rows(self) -> int:
        """Of the student's call in a training step: some objectives stack several batches."""
        goal = self.goal
        batch = self.options.get("batch", BATCH)
        if not issubclass(goal, DataObjective):
            return batch
        return batch * (goal.uses_retained + len(self.forget))

    def made(self, retain: Any, forget: list[Any], reference: Any = None) -> Problem:
        """The problem, on models."""
        kind: Any = PROBLEMS[self.problem]
        own = [one.name for one in dataclasses.fields(kind.Options) if hasattr(self, one.name)]
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
