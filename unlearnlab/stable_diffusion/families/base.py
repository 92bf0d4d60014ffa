"""What all families of pipelines share."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from ...diffusion.schedule import Schedule, whole
from ...errors import real

QUERIES = ("to_q", "to_k", "to_v", "to_out.0")  # of an attention, its layers by name


class Asked(NamedTuple):
    """What a network is asked for.

    Attributes:
        text: the prompt.
        negative: whether it is what guidance leads away from.
        strength: of a guidance that the network takes in; None where it takes none.
    """

    text: str
    negative: bool = False
    strength: float | None = None


class Family:
    """A family of pipelines, around one of its pipelines.

    Args:
        pipeline: the stock one.
        size: (height, width) of its pictures in pixels; by default those it was trained for.

    Attributes:
        stock: the name of its class in diffusers. title: for people.
        network: the part that predicts. networks: the classes of those parts that are networks.
        optional: parts that it can lack.
        layers: what a LoRA changes by default, "cross" or "all".
        loaded: its parts that a LoRA file can change, and what kohya's files call them; "" where
            they are not read.
        shape: of a latent, (channels, height, width).
        t5_tokens: that the stock pipeline has T5 read, with the end.
        guided_inside: whether the network takes the strength of its guidance in.

    Raises:
        ValueError: a pipeline that is not asked by a prompt alone; a size it cannot draw.
    """

    stock: ClassVar[str]
    title: ClassVar[str]
    network: ClassVar[str] = "unet"
    networks: ClassVar[dict[str, str]]
    optional: ClassVar[tuple[str, ...]] = ()
    layers: ClassVar[str] = "cross"
    loaded: ClassVar[dict[str, str]]
    t5_tokens: ClassVar[int] = 0
    guided_inside = False

    def __init__(self, pipeline: Any, size: int | tuple[int, int] | None = None):
        self.pipeline = pipeline
        self.require()
        self.shape = self._shape(size)

    @classmethod
    def encoders(cls) -> dict[str, str]:
        """Its text encoders, and the tokenizer of each."""
        names = [name for name in cls.networks if name.startswith("text_encoder")]
        return {name: name.replace("text_encoder", "tokenizer") for name in names}

    @classmethod
    def parts(cls) -> tuple[str, ...]:
        """All that a pipeline of the family is made of."""
        return (*cls.networks, *cls.encoders().values(), "scheduler")

    @property
    def net(self) -> Any:
        """The network that predicts."""
        return getattr(self.pipeline, self.network)

    @property
    def text_encoders(self) -> dict[str, Any]:
        """Those that are there, by name."""
        found = {name: getattr(self.pipeline, name) for name in self.encoders()}
        return {name: one for name, one in found.items() if one is not None}

    @property
    def reads_on(self) -> torch.device:
        """Where prompts are read: the text encoders need not lie where the network does."""
        return next(iter(self.text_encoders.values())).device

    def require(self) -> None:
        """Refuse what the stock pipeline also runs, but not as one prompt's prediction."""
        vae = self.pipeline.vae.config
        if self.channels != vae.latent_channels:
            raise ValueError(
                f"the network takes {self.channels} channels and the autoencoder makes "
                f"{vae.latent_channels}: inpainting and other conditioned pipelines are not "
                "supported"
            )
        if not real("the autoencoder's scaling_factor", vae.scaling_factor) > 0:
            raise ValueError(
                f"the autoencoder's scaling_factor must be positive; got {vae.scaling_factor!r}"
            )
        own = self.net.dtype
        for name, encoder in self.text_encoders.items():
            if encoder.dtype != own:
                raise ValueError(
                    f"the {self.network} is {own} and the {name} {encoder.dtype}: load all parts "
                    "with one dtype"
                )
            tokenizer = self.encoders()[name]
            longest = getattr(self.pipeline, tokenizer).model_max_length
            reads = getattr(encoder.config, "max_position_embeddings", longest)  # T5 has no limit
            if longest > reads:
                raise ValueError(
                    f"the {tokenizer}'s model_max_length is {longest}, and the {name} reads "
                    f"{reads} tokens: write that into tokenizer_config.json"
                )

    @property
    def channels(self) -> int:
        """Of a latent."""
        return self.net.config.in_channels

    def trained_size(self) -> tuple[int, int]:
        """Height and width of the latents that the network was trained on."""
        side = self.net.config.sample_size
        if side is None:
            raise ValueError(
                f"the {self.network} has sample_size null: write the side of its latents there, or "
                "give size"
            )
        return (side, side) if isinstance(side, int) else (int(side[0]), int(side[1]))

    def _shape(self, size: int | tuple[int, int] | None) -> tuple[int, ...]:
        if size is None:
            return (self.channels, *self.trained_size())
        sides = (size, size) if isinstance(size, int) else tuple(size)
        scale = self.pipeline.vae_scale_factor
        for side in sides:
            if whole("size", side, scale) % (scale * self.patch):
                raise ValueError(
                    f"size must be a multiple of {scale * self.patch} pixels, of which this "
                    f"pipeline makes one place of its latents; got {size!r}"
                )
        return (self.channels, *(side // scale for side in sides))

    @property
    def patch(self) -> int:
        """Latents that the network takes as one, a side."""
        return 1

    @property
    def pixels(self) -> tuple[int, int]:
        """Height and width of a picture."""
        scale = self.pipeline.vae_scale_factor
        return self.shape[1] * scale, self.shape[2] * scale

    def schedule(self) -> Schedule:
        """The noise schedule of the scheduler."""
        raise NotImplementedError

    def prediction(self) -> str:
        """What the network predicts, as `ul.wrap` calls it."""
        raise NotImplementedError

    def limits(self) -> Iterator[tuple[Any, int]]:
        """Each tokenizer, and how many tokens of a prompt its text encoder reads.

        CLIP's has a beginning and an end besides, T5's an end.
        """
        for name in self.text_encoders:
            own = getattr(self.pipeline, self.encoders()[name])
            t5 = self.networks[name] == "T5EncoderModel"
            yield own, self.t5_tokens - 1 if t5 else own.model_max_length - 2

    def conditions(self, asked: Asked) -> dict[str, Tensor]:
        """What the network sees of a prompt, one row of each; by the stock pipeline's own code.

        They lie where the prompt is read.
        """
        raise NotImplementedError

    def predict(self, net: Any, x: Tensor, t: Tensor, seen: dict[str, Tensor]) -> Tensor:
        """What a network of the family predicts (B, *shape) at x and t (B,), given conditions."""
        raise NotImplementedError

    @classmethod
    def attentions(cls, name: str, layers: str) -> bool:
        """Whether a linear layer is one of "cross" (attention to the text) or "all" attentions."""
        kinds = {"cross": r"\.attn2\.", "all": r"\.attn\d\."}
        return bool(re.search(kinds[layers], name)) and name.endswith(QUERIES)

    def chosen(self, layers: str | Sequence[str]) -> list[str]:
        """Names of the linear layers that a LoRA changes.

        Raises:
            ValueError: a name that no layer ends in.
        """
        linear = [
            name
            for name, layer in self.net.named_modules()
            if isinstance(getattr(layer, "base_layer", layer), nn.Linear) and "lora_" not in name
        ]
        linear = [name.removesuffix(".base_layer") for name in linear]
        linear = list(dict.fromkeys(linear))
        if layers in ("cross", "all"):
            return [name for name in linear if self.attentions(name, str(layers))]
        ends = (layers,) if isinstance(layers, str) else tuple(layers)
        without = [end for end in ends if not any(name.endswith(end) for name in linear)]
        if without or not ends:
            raise ValueError(
                'layers must be "cross", "all", or ends of names of linear layers, such as '
                f"{', '.join(QUERIES)}; none ends in "
                f"{', '.join(map(repr, without)) or 'nothing'}"
            )
        return [name for name in linear if name.endswith(ends)]
