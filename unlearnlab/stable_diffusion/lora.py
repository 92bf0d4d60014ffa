"""LoRA students: a prompt whose UNet carries low-rank changes, saved in diffusers' own format."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..diffusion.schedule import whole
from ..files import require_unchanged
from . import adapters, lora_file
from .prompt import Prompt

if TYPE_CHECKING:
    from .pipeline import TextToImage

TARGETS = ("to_q", "to_k", "to_v", "to_out.0")
CROSS = "attn2"  # the attention to the text


class LoRA(Prompt, nn.Module):
    """A student: the pipeline's UNet with W + s(α/r)BA in the place of some weights W.

    The weights W are shared with the pipeline and never change; A (r, in) is random and B (out, r)
    zero at first, so the student begins as the pipeline. Both are float32, whatever W is: steps of
    an optimiser are lost to the rounding of half precision. Adapters that the pipeline carries stay
    active, and are not trained.

    Args:
        source: the pipeline.
        rank: r; α = r.
        targets: layers of the cross-attention, by the end of their names.
        text: the prompt it draws; by default the one of the problem it is trained on.
        seed: of A.

    Attributes:
        adapter: what peft calls the change.

    Raises:
        ValueError: a pipeline whose adapters are fused or switched off; targets that no layer has.
    """

    def __init__(
        self,
        source: TextToImage,
        *,
        rank: int = 8,
        targets: Sequence[str] = TARGETS,
        text: str | None = None,
        guidance: float = 1.0,
        seed: int = 0,
        unet: Any = None,
        adapter: str | None = None,
    ):
        nn.Module.__init__(self)
        self.adapter = adapter or adapters.free_name(*_networks(source))
        if unet is None:
            rank = whole("rank", rank, 1)
            unet = _adapted(source.pipeline.unet, rank, targets, seed, self.adapter)
        Prompt.__init__(self, source, text or "", guidance=guidance, unet=unet)
        self.bound = text is not None

    def condition(self, retain: Any) -> None:
        """Draw what the retained prompt asks for, unless a text was given."""
        if self.bound or not isinstance(retain, Prompt):
            return
        self.text, self.guidance, self.negative = retain.text, retain.guidance, retain.negative
        self.denoiser, self.rows = retain.denoiser, retain.rows

    def prompt(self, text: str, *, guidance: float = 1.0) -> LoRA:
        """The same UNet at another prompt; parameters are shared."""
        how: dict[str, Any] = {"unet": self.unet, "adapter": self.adapter}
        return LoRA(self.source, text=text, guidance=guidance, **how)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """ε̂, as torch modules are called."""
        return self.noise_prediction(x_t, t)

    def for_training(self) -> LoRA:
        """A copy with parameters of its own to train; the pipeline's weights stay shared."""
        pupil = copy.copy(self)
        pupil._modules = dict(self._modules)
        beside = [name for name in adapters.active(self.unet) if name != self.adapter]
        network = adapters.shared(self.unet, self.adapter)
        pupil.unet = adapters.trainable(network, self.adapter, beside)
        return pupil

    @property
    def pipeline(self) -> Any:
        """A stock pipeline that draws with this UNet; the other parts are the source's."""
        return self.source.assembled(unet=self.unet)

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
        names = {"unet": self.adapter}
        if self.adapter in getattr(self.source.pipeline.text_encoder, "peft_config", {}):
            names["text_encoder"] = self.adapter
        lora_file.write(self.pipeline, names, Path(folder), format)

    @classmethod
    def load(
        cls, source: TextToImage, folder: str | os.PathLike[str], *, text: str | None = None
    ) -> LoRA:
        """A student from its file; see `TextToImage.load_lora`."""
        path = lora_file.found_at(folder)
        require_unchanged(path.parent, path.name)
        unet, encoder = _networks(source)
        beside = adapters.active(unet)
        adapter = adapters.free_name(*_networks(source))
        made = source.assembled(unet=adapters.shared(unet), text_encoder=adapters.shared(encoder))
        before = adapters.active(encoder)
        lora_file.load_into(made, path, adapter)
        if adapter not in getattr(made.unet, "peft_config", {}):
            raise ValueError(f"{path} changes nothing of the UNet of {source!r}")
        network = adapters.trainable(made.unet, adapter, beside)
        lora_file.exact(path, network, adapter)
        if adapter in getattr(made.text_encoder, "peft_config", {}):
            adapters.trainable(made.text_encoder, adapter, before)
            source = source.with_text_encoder(made.text_encoder)
        return cls(source, text=text, unet=network, adapter=adapter)

    def scale(self, factor: float) -> None:
        """Set s, how much of the change is applied: 0 is the pipeline, 1 the student."""
        if not 0 <= factor < float("inf"):
            raise ValueError(f"factor must not be negative; got {factor!r}")
        for _, layer in adapters.layers(self.unet):
            if self.adapter in layer.r:
                layer.set_scale(self.adapter, factor)

    def __repr__(self) -> str:
        size = sum(
            p.numel()
            for name, p in self.unet.named_parameters()
            if adapters.belongs(name, self.adapter)
        )
        return f"LoRA({self.text!r} in {self.source.name!r}, {size} parameters)"


def _networks(source: TextToImage) -> tuple[Any, Any]:
    """Those that can have adapters."""
    return source.pipeline.unet, source.pipeline.text_encoder


def _adapted(unet: Any, rank: int, targets: Sequence[str], seed: int, adapter: str) -> Any:
    """A UNet that shares all weights with the given one, and has low-rank changes besides."""
    from peft import LoraConfig

    beside = adapters.active(unet)
    student = adapters.shared(unet)
    ends = (targets,) if isinstance(targets, str) else tuple(targets)
    there = [
        name
        for name, layer in unet.named_modules()
        if CROSS in name and isinstance(getattr(layer, "base_layer", layer), nn.Linear)
    ]
    names = [name for name in there if name.endswith(ends)]
    without = [end for end in ends if not any(name.endswith(end) for name in names)]
    if without or not ends:
        raise ValueError(
            f"targets must each name layers of the cross-attention, such as {', '.join(TARGETS)}; "
            f"none ends in {', '.join(map(repr, without)) or 'nothing'}"
        )
    with torch.random.fork_rng(devices=[]), adapters.beside_others():
        torch.manual_seed(seed)
        config = LoraConfig(r=rank, lora_alpha=rank, target_modules=names)
        student.add_adapter(config, adapter)
    return adapters.trainable(student, adapter, beside)
