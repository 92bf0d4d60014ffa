"""What `python -m unlearnlab.stable_diffusion --config NAME_OR_FILE` is asked for."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..problems import Problem
from ..training.denoising import DataObjective
from ..training.finetune import BATCH, objective_of
from ..training.settings import Settings, split_options
from . import fields
from .checks import BASELINES, CHECKS, OF_FINETUNE, PROBLEMS, PROMPTS
from .lora_file import FORMATS, found_at
from .prompt_file import read_prompts
from .reading import read_yaml

CONFIGS = Path(__file__).parent / "configs"


@dataclass
class Config:
    """One run.

    Attributes:
        model: "tiny", a diffusers folder or a hub id. variant: of its weights, such as fp16.
        problem: reverse-kl, forward-kl or likelihood.
        retain: the prompt to keep. forget: those to unlearn. unrelated: others to watch.
        forget_images: a folder of images to unlearn, beside prompts or in their place.
        anchor: the prompt to draw in the place of what is forgotten (ablation, fdivergence).
        keep: what a picture of the retained prompt shows, and in which share of them at least.
        judge: who tells: "tiny", `file.py:function` or `module:function`, or a CLIP's folder or id.
        prompts: instead, a CSV file with columns `role` (retain, forget, unrelated) and `prompt`.
        thresholds, relative: one of them, as in the problem.
        statistic, temperature, cap: of `Likelihood`. reference: its prompt; "" for what the model
            draws without one, and None for the one to retain.
        method: of `finetune`, or a baseline (esd, vdu, ablation, fdivergence).
        until: "met", to train until the thresholds hold on the student's own samples.
        rank, layers, text_encoders: of the student, as in `LoRA`.
        size, offload: of the pipeline, as in `TextToImage`.
        init: a LoRA to start from, whose rank and layers are kept: its file or folder, or an
            earlier run's.
        guidance: of the prompts while training; 1 for none.
        sample_guidance, sample_steps, samples: of the pictures in the report.
        out: folder for the checkpoint, the student and the report.
        formats: that the student is written in: diffusers (in `lora`), kohya (there, too), merged
            (a whole pipeline in `merged`).
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
    forget_images: str | None = None
    anchor: str | None = None
    keep: dict[str, float] = field(default_factory=dict)
    judge: str | None = None
    until: str | None = None
    formats: Any = ("diffusers",)
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
    text_encoders: bool = False
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
        if not self.retain or not (self.forget or self.forget_images):
            raise ValueError(
                "a run needs a prompt to retain and at least one to forget, or forget_images"
            )
        self._require_prompts()
        self._require_problem()
        self._require_student()
        self._require_more()
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
            given, count = getattr(self, name), len(self.forget) + bool(self.forget_images)
            if isinstance(given, list) and len(given) != count:
                raise ValueError(
                    f"{name} must be one number, or one for each of {count} prompts to forget"
                    f"{' and for the images' if self.forget_images else ''}; got {given}"
                )
        own = {one.name for one in dataclasses.fields(PROBLEMS[self.problem].Options)}
        usual = {one.name: one.default for one in dataclasses.fields(self)}
        for name in ("reference", "cap", "statistic", "temperature"):
            if getattr(self, name) != usual[name] and "cap" not in own:
                raise ValueError(f"{name} is of problem likelihood; {self.problem} has none")
        if self.reference is not None and self.statistic != "ratio":
            raise ValueError(f"reference is of statistic ratio; {self.statistic} has none")

    def _require_student(self) -> None:
        """Refuse a student that cannot be made, or that nothing would train."""
        if self.text_encoders and self.offload:
            raise ValueError(
                "text_encoders: true trains the text encoders, and offload: true keeps them in the "
                "CPU's memory: choose one of them"
            )
        asked = [name for name in ("init", "layers", "text_encoders") if getattr(self, name)]
        if asked and self.method == "dual-only":
            raise ValueError(f"{asked[0]} is of methods with a student; dual-only has none")
        if self.init is None:
            return
        for name in ("layers", "text_encoders"):
            if getattr(self, name):
                raise ValueError(f"{name} are of a new LoRA; the one of init keeps its own")
        try:
            found_at(self.init)
        except FileNotFoundError as error:
            raise ValueError(f"init: {error}") from None

    def _require_more(self) -> None:
        """Refuse what the method or the problem has no place for."""
        takes = "anchor" in {one.name for one in dataclasses.fields(self.goal.Options)}
        if takes and self.anchor is None:
            raise ValueError(f"method {self.method} needs an anchor: a prompt to draw instead")
        if self.anchor is not None and not takes:
            raise ValueError(f"anchor is of methods ablation and fdivergence; got {self.method}")
        if self.keep and self.problem != "likelihood":
            raise ValueError(f"keep is of problem likelihood; {self.problem} has none")
        if self.keep and self.judge is None:
            if self.model != "tiny":
                raise ValueError("keep needs a judge, who tells what a picture shows")
            self.judge = "tiny"
        if self.judge is not None and not self.keep:
            raise ValueError("judge tells what keep asks for, and there is no keep")
        if self.until is not None:
            self.options = {**self.options, "until": self.until}
        self.formats = [self.formats] if isinstance(self.formats, str) else list(self.formats)
        for one in self.formats:
            fields.one_of("formats", one, FORMATS)

    def _checked_options(self) -> dict[str, Any]:
        """The options, each of the kind that `finetune`, its settings and the method take."""
        own = [*dataclasses.fields(Settings), *dataclasses.fields(self.goal.Options)]
        checks = {one.name: fields.typed(one.type) for one in own}
        del checks["seeds"]
        for name in ("data", "anchor", "base"):  # samples and models, which no file can hold
            checks.pop(name, None)
        checks |= OF_FINETUNE
        for name in self.options:
            fields.one_of("option", name, checks)
        options = {
            name: checks[name](f"options: {name}", value) for name, value in self.options.items()
        }
        more = {name: value for name, value in options.items() if name not in OF_FINETUNE}
        if "sampling_steps" in options and hasattr(self.goal.Options, "sampling_steps"):
            more["sampling_steps"] = options["sampling_steps"]
        if self.anchor is not None:
            more["anchor"] = self.anchor  # stands for its model, which is not there yet
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
        return batch * (goal.uses_retained + len(self.forget) + bool(self.forget_images))

    def made(
        self, retain: Any, forget: list[Any], reference: Any = None, kept: Any = ()
    ) -> Problem:
        """The problem, on models; `kept` are functions and the means that they keep."""
        kind: Any = PROBLEMS[self.problem]
        own = [one.name for one in dataclasses.fields(kind.Options) if hasattr(self, one.name)]
        more = {name: getattr(self, name) for name in own}
        if reference is not None:
            more["reference"] = reference
        if kept:
            more["at_least"] = kept
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
