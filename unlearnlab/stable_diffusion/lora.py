"""LoRA students: a prompt whose network carries low-rank changes, saved as diffusers saves them."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..diffusion.schedule import whole
from ..errors import switch
from ..files import require_unchanged
from . import adapters, lora_file
from .prompt import Prompt

if TYPE_CHECKING:
    from .pipeline import TextToImage

TEXT_ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")  # the attention of a CLIP text encoder


class LoRA(Prompt, nn.Module):
    """A student: the pipeline's network with W + s(α/r)BA in the place of some weights W.

    The weights W are shared with the pipeline and never change; A (r, in) is random and B (out, r)
    zero at first, so the student begins as the pipeline. Both are float32, whatever W is: steps of
    an optimiser are lost to the rounding of half precision. Adapters that the pipeline carries stay
    active, and are not trained.

    Args:
        source: the pipeline.
        rank: r; α = r.
        layers: which to change: "cross", the attention to the text (of a transformer the text's
            side of it); "all", all attention; or linear layers by the end of their names. By
            default "cross" of a UNet, and "all" of a transformer.
        text_encoders: whether to change the attention of its CLIP text encoders, too, with the same
            rank. While they are trained, a prompt is read anew at every step.
        text: the prompt it draws; by default the one of the problem it is trained on.
        seed: of A.

    Attributes:
        adapter: what peft calls the change.
        encoders: the text encoders that are changed, by name.

    Raises:
        ValueError: a pipeline whose adapters are fused or switched off; layers that it has not;
            text encoders to train that the pipeline keeps off the network's device.
    """

    def __init__(
        self,
        source: TextToImage,
        *,
        rank: int = 8,
        layers: str | Sequence[str] | None = None,
        text_encoders: bool = False,
        text: str | None = None,
        guidance: float = 1.0,
        seed: int = 0,
        net: Any = None,
        adapter: str | None = None,
    ):
        nn.Module.__init__(self)
        self.adapter = adapter or adapters.free_name(*_networks(source).values())
        if net is None:
            names = source.family.chosen(source.family.layers if layers is None else layers)
            net = _adapted(source.family.net, whole("rank", rank, 1), names, seed, self.adapter)
            if switch("text_encoders", text_encoders):
                source = _with_encoders(source, rank, seed, self.adapter)
        Prompt.__init__(self, source, text or "", guidance=guidance, net=net)
        self.encoders = nn.ModuleDict(_changed(source, self.adapter))
        self.bound = text is not None

    def condition(self, retain: Any) -> None:
        """Draw what the retained prompt asks for, unless a text was given."""
        if self.bound or not isinstance(retain, Prompt):
            return
        self.text, self.guidance, self.negative = retain.text, retain.guidance, retain.negative
        self.denoiser, self.rows = retain.denoiser, retain.rows

    def prompt(self, text: str, *, guidance: float = 1.0) -> LoRA:
        """The same network at another prompt; parameters are shared."""
        how: dict[str, Any] = {"net": self.net, "adapter": self.adapter}
        return LoRA(self.source, text=text, guidance=guidance, **how)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """ε̂, as torch modules are called."""
        return self.noise_prediction(x_t, t)

    def for_training(self) -> LoRA:
        """A copy with parameters of its own to train; the pipeline's weights stay shared."""
        pupil = copy.copy(self)
        pupil._modules = dict(self._modules)
        beside = [name for name in adapters.active(self.net) if name != self.adapter]
        network = adapters.shared(self.net, self.adapter)
        pupil.net = adapters.trainable(network, self.adapter, beside)
        if self.encoders:
            _require_encoders_near(self.source)
            own = {name: adapters.shared(one, self.adapter) for name, one in self.encoders.items()}
            pupil.source = _trained(self.source.with_parts(**own), self.adapter)
            pupil.encoders = nn.ModuleDict(own)
        return pupil

    @property
    def pipeline(self) -> Any:
        """A stock pipeline that draws with this network; the other parts are the source's."""
        return self.source.assembled(**{self.source.family.network: self.net})

    def save(self, folder: str | os.PathLike[str], format: str = "diffusers") -> None:
        """Write the student as it draws, its scale included.

        Args:
            folder: made where there is none; no file in it is ever half written.
            format: "diffusers", `pytorch_lora_weights.safetensors`, as `load_lora_weights` reads
                it; "kohya", `lora_kohya.safetensors`, as A1111, ComfyUI and kohya's scripts read
                it; "merged", a whole pipeline with the change, and any other adapter, in its
                weights, in a folder that holds nothing yet.

        Raises:
            ValueError: another format, or a folder that holds something.
        """
        family = self.source.family
        names = dict.fromkeys([family.network, *self.encoders], self.adapter)
        lora_file.write(family, self.pipeline, names, Path(folder), format)

    @classmethod
    def load(
        cls, source: TextToImage, folder: str | os.PathLike[str], *, text: str | None = None
    ) -> LoRA:
        """A student from its file; see `TextToImage.load_lora`."""
        path = lora_file.found_at(folder)
        require_unchanged(path.parent, path.name)
        family, adapter = source.family, adapters.free_name(*_networks(source).values())
        before = {name: adapters.active(one) for name, one in _networks(source).items()}
        made = source.assembled(
            **{name: adapters.shared(one) for name, one in _networks(source).items()}
        )
        lora_file.load_into(family, made, path, adapter)
        changed = [
            name for name in before if adapter in getattr(getattr(made, name), "peft_config", {})
        ]
        if family.network not in changed:
            raise ValueError(f"{path} changes nothing of the {family.network} of {source!r}")
        for name in changed:
            adapters.trainable(getattr(made, name), adapter, before[name])
        lora_file.exact(family, path, {name: getattr(made, name) for name in changed}, adapter)
        net = getattr(made, family.network)
        encoders = {name: getattr(made, name) for name in changed if name != family.network}
        if encoders:
            source = source.with_parts(**encoders)
            if not source.offload:
                _trained(source, adapter)  # a pipeline freezes its parts
        return cls(source, text=text, net=net, adapter=adapter)

    def scale(self, factor: float) -> None:
        """Set s, how much of the change is applied: 0 is the pipeline, 1 the student."""
        if not 0 <= factor < float("inf"):
            raise ValueError(f"factor must not be negative; got {factor!r}")
        for network in (self.net, *self.encoders.values()):
            for _, layer in adapters.layers(network):
                if self.adapter in layer.r:
                    layer.set_scale(self.adapter, factor)
        if self.encoders:
            self.source.forget_states()

    def __repr__(self) -> str:
        size = sum(
            p.numel() for name, p in self.named_parameters() if adapters.belongs(name, self.adapter)
        )
        return f"LoRA({self.text!r} in {self.source.name!r}, {size} parameters)"


def _networks(source: TextToImage) -> dict[str, Any]:
    """Those that can have adapters."""
    family = source.family
    clip = {k: one for k, one in family.text_encoders.items() if k in family.loaded}
    return {family.network: family.net} | clip


def _changed(source: TextToImage, adapter: str) -> dict[str, Any]:
    """The text encoders that carry an adapter."""
    encoders = source.family.text_encoders.items()
    return {name: one for name, one in encoders if adapter in getattr(one, "peft_config", {})}


def _trained(source: TextToImage, adapter: str) -> TextToImage:
    """The pipeline, with an adapter of its text encoders to be trained."""
    for one in _changed(source, adapter).values():
        beside = [name for name in adapters.active(one) if name != adapter]
        adapters.trainable(one, adapter, beside)
    return source


def _require_encoders_near(source: TextToImage) -> None:
    """Refuse to train what is kept away from the network."""
    if source.offload:
        raise ValueError(
            "the student changes text encoders (text_encoders=True, or the file that it was loaded "
            "from), and the pipeline was read with offload=True, which keeps them in the CPU's "
            "memory: read it without, or train a student without them"
        )


def _with_encoders(source: TextToImage, rank: int, seed: int, adapter: str) -> TextToImage:
    """The pipeline with low-rank changes in its text encoders, which it alone has."""
    _require_encoders_near(source)
    networks = _networks(source)
    del networks[source.family.network]
    made = {
        name: _adapted(one, rank, TEXT_ATTENTION, seed, adapter) for name, one in networks.items()
    }
    return _trained(source.with_parts(**made), adapter)


def _adapted(net: Any, rank: int, names: Sequence[str], seed: int, adapter: str) -> Any:
    """A network that shares all weights with the given one, and has low-rank changes besides."""
    from peft import LoraConfig

    beside = adapters.active(net)
    student = adapters.shared(net)
    with torch.random.fork_rng(devices=[]), adapters.beside_others():
        torch.manual_seed(seed)
        config = LoraConfig(r=rank, lora_alpha=rank, target_modules=list(names))
        student.add_adapter(config, adapter)
    return adapters.trainable(student, adapter, beside)
