"""LoRA students: a prompt whose UNet carries low-rank changes, saved in diffusers' own format."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ..diffusion.schedule import whole
from .prompt import Prompt

if TYPE_CHECKING:
    from .pipeline import TextToImage

TARGETS = ("to_q", "to_k", "to_v", "to_out.0")
CROSS = "attn2"  # the attention to the text
FILE = "pytorch_lora_weights.safetensors"


class LoRA(Prompt, nn.Module):
    """A student: the pipeline's UNet with W + s(α/r)BA in the place of some weights W.

    The weights W are shared with the pipeline and never change; A (r, in) is random and B (out, r)
    zero at first, so the student begins as the pipeline. Both are float32, whatever W is: steps of
    an optimiser are lost to the rounding of half precision.

    Args:
        source: the pipeline.
        rank: r; α = r.
        targets: layers of the cross-attention, by the end of their names.
        text: the prompt it draws; by default the one of the problem it is trained on.
        seed: of A.
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
    ):
        nn.Module.__init__(self)
        if unet is None:
            unet = _adapted(source.pipeline.unet, whole("rank", rank, 1), targets, seed)
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
        return LoRA(self.source, text=text, guidance=guidance, unet=self.unet)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """ε̂, as torch modules are called."""
        return self.noise_prediction(x_t, t)

    def for_training(self) -> LoRA:
        """A copy with parameters of its own to train; the pipeline's weights stay shared."""
        pupil = copy.copy(self)
        pupil._modules = dict(self._modules)
        pupil.unet = _trainable(_shared(self.unet))
        return pupil

    @property
    def pipeline(self) -> Any:
        """A stock pipeline that draws with this UNet; the other parts are the source's."""
        stock = self.source.pipeline
        made = type(stock)(
            **stock.components | {"unet": self.unet},
            requires_safety_checker=stock.config.requires_safety_checker,
        )
        made.set_progress_bar_config(disable=True)
        return made

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write `pytorch_lora_weights.safetensors`, as diffusers' `load_lora_weights` reads it."""
        from peft import get_peft_model_state_dict

        kind = type(self.source.pipeline)
        kind.save_lora_weights(
            Path(folder),
            unet_lora_layers=get_peft_model_state_dict(self.unet),
            safe_serialization=True,
        )

    @classmethod
    def load(
        cls, source: TextToImage, folder: str | os.PathLike[str], *, text: str | None = None
    ) -> LoRA:
        """A student from its file; see `TextToImage.load_lora`."""
        from peft import set_peft_model_state_dict

        path = Path(folder) / FILE
        if not path.is_file():
            raise FileNotFoundError(f"folder {str(folder)!r} holds no {FILE}")
        unet, tensors = _shared(source.pipeline.unet), load_file(path)
        try:
            unet.load_lora_adapter(tensors, prefix="unet", adapter_name="default")
        except (RuntimeError, ValueError, KeyError) as error:
            line = str(error).strip().splitlines()[0]
            raise ValueError(f"{path} is of another network than {source!r} ({line})") from None
        if not getattr(unet, "peft_config", None):
            raise ValueError(f"{path} is of another network than {source!r}: it changes nothing")
        unet = _trainable(unet)
        exact = {name.removeprefix("unet."): tensor for name, tensor in tensors.items()}
        set_peft_model_state_dict(unet, exact)  # again: diffusers rounds to the dtype of W
        return cls(source, text=text, unet=unet)

    def scale(self, factor: float) -> None:
        """Set s, how much of the change is applied: 0 is the pipeline, 1 the student."""
        if not 0 <= factor < float("inf"):
            raise ValueError(f"factor must not be negative; got {factor!r}")
        self.unet.set_adapters("default", factor)

    def __repr__(self) -> str:
        size = sum(p.numel() for name, p in self.unet.named_parameters() if "lora_" in name)
        return f"LoRA({self.text!r} in {self.source.name!r}, {size} parameters)"


def _shared(unet: Any) -> Any:
    """A copy of a UNet that shares all its tensors but the low-rank ones."""
    kept = [p for name, p in unet.named_parameters() if "lora_" not in name]
    return copy.deepcopy(unet, {id(t): t for t in [*kept, *unet.buffers()]})


def _trainable(unet: Any) -> Any:
    """The UNet, of whose parameters only the low-rank ones are trained, in float32."""
    for name, p in unet.named_parameters():
        if "lora_" in name:
            p.data = p.data.to(torch.promote_types(p.dtype, torch.float32))
        p.requires_grad_("lora_" in name)
    return unet


def _adapted(unet: Any, rank: int, targets: Sequence[str], seed: int) -> Any:
    """A UNet that shares all weights with the given one, and has low-rank changes besides."""
    from peft import LoraConfig

    student = _shared(unet)
    names = [
        name
        for name, layer in unet.named_modules()
        if CROSS in name and name.endswith(tuple(targets)) and isinstance(layer, nn.Linear)
    ]
    if not names:
        raise ValueError(f"targets must name layers of the cross-attention; got {tuple(targets)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        student.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=names))
    return _trainable(student)
