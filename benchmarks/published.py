"""Networks of the families as they were published, with random weights, or with none ("meta").

Their text encoders are shallow and their autoencoders small, for training calls neither; what the
network sees of a prompt has the shapes that it has with the published ones.
"""

from __future__ import annotations

from typing import Any

import torch

import unlearnlab as ul
from unlearnlab.stable_diffusion import tiny

TOKENS = 77  # of a prompt, to CLIP
SD = {
    "sample_size": 64,
    "in_channels": 4,
    "out_channels": 4,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
}
UNETS: dict[str, dict[str, Any]] = {
    "Stable Diffusion v1.4": SD
    | {
        "block_out_channels": (320, 640, 1280, 1280),
        "layers_per_block": 2,
        "down_block_types": (*("CrossAttnDownBlock2D",) * 3, "DownBlock2D"),
        "up_block_types": ("UpBlock2D", *("CrossAttnUpBlock2D",) * 3),
    },
    "bk-sdm-tiny": SD
    | {
        "block_out_channels": (320, 640, 1280),
        "layers_per_block": 1,
        "down_block_types": ("CrossAttnDownBlock2D",) * 3,
        "mid_block_type": None,
        "up_block_types": ("CrossAttnUpBlock2D",) * 3,
    },
    "Stable Diffusion XL": {
        "sample_size": 128,
        "in_channels": 4,
        "out_channels": 4,
        "cross_attention_dim": 2048,
        "attention_head_dim": [5, 10, 20],
        "block_out_channels": (320, 640, 1280),
        "layers_per_block": 2,
        "down_block_types": ("DownBlock2D", *("CrossAttnDownBlock2D",) * 2),
        "up_block_types": (*("CrossAttnUpBlock2D",) * 2, "UpBlock2D"),
        "transformer_layers_per_block": [1, 2, 10],
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
}
SD3 = {
    "sample_size": 128,
    "patch_size": 2,
    "in_channels": 16,
    "out_channels": 16,
    "num_layers": 24,
    "attention_head_dim": 64,
    "num_attention_heads": 24,
    "joint_attention_dim": 4096,
    "caption_projection_dim": 1536,
    "pooled_projection_dim": 2048,
    "pos_embed_max_size": 192,
}
FLUX = {
    "in_channels": 64,
    "num_layers": 19,
    "num_single_layers": 38,
    "attention_head_dim": 128,
    "num_attention_heads": 24,
    "joint_attention_dim": 4096,
    "pooled_projection_dim": 768,
    "guidance_embeds": True,
}
NAMES = (*UNETS, "Stable Diffusion 3 medium", "FLUX.1-dev")


def network(name: str) -> Any:
    """One of `NAMES`, on torch's default device."""
    import diffusers

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if name in UNETS:
            return diffusers.UNet2DConditionModel(**UNETS[name])
        if name == "FLUX.1-dev":
            return diffusers.FluxTransformer2DModel(**FLUX)
        return diffusers.SD3Transformer2DModel(**SD3)


def around(net: Any, device: str, dtype: torch.dtype) -> ul.TextToImage:
    """A pipeline with this network; parts beside it stay on the CPU."""
    made = stock(net)
    for part in made.components.values():
        if isinstance(part, torch.nn.Module):
            part.to(dtype)
    net.to(device)
    return ul.TextToImage(made, "random weights")


def stock(net: Any) -> Any:
    """A stock pipeline of the network's family; the widths of its text encoders fit it.

    The schedulers, and the scales of the autoencoders' latents, are those that were published.
    """
    kinds = {
        "FluxTransformer2DModel": _flux,
        "SD3Transformer2DModel": _sd3,
        "UNet2DConditionModel": _sdxl if net.config.get("addition_embed_type") else _sd,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return kinds[type(net).__name__](net)


def _flux(net: Any) -> Any:
    """FLUX.1; without guidance inside as schnell, whose shift does not move."""
    import diffusers

    tokens, (t5_tokens, t5) = _tokens(), _t5(net.config.joint_attention_dim)
    moving = {"shift": 3.0, "use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 1.15}
    shift: dict[str, Any] = moving if net.config.guidance_embeds else {"shift": 1.0}
    return diffusers.FluxPipeline(
        vae=_autoencoder(16, scaling_factor=0.3611, shift_factor=0.1159),
        text_encoder=_clip(tokens, net.config.pooled_projection_dim),
        text_encoder_2=t5,
        tokenizer=tokens,
        tokenizer_2=t5_tokens,
        transformer=net,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(**shift),
    )


def _sd3(net: Any) -> Any:
    """Stable Diffusion 3; of the pooled states 3/8 are the first CLIP's, as 768 of 2048 are."""
    import diffusers

    tokens, (t5_tokens, t5) = _tokens(), _t5(net.config.joint_attention_dim)
    pooled = net.config.pooled_projection_dim
    first = pooled * 3 // 8
    return diffusers.StableDiffusion3Pipeline(
        vae=_autoencoder(16, scaling_factor=1.5305, shift_factor=0.0609),
        text_encoder=_clip(tokens, first, projected=True),
        text_encoder_2=_clip(tokens, pooled - first, projected=True),
        text_encoder_3=t5,
        tokenizer=tokens,
        tokenizer_2=_tokens(),
        tokenizer_3=t5_tokens,
        transformer=net,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
    )


def _sdxl(net: Any) -> Any:
    """Stable Diffusion XL; beside six numbers of a size stand the second CLIP's pooled states."""
    import diffusers

    tokens, config = _tokens(), net.config
    pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
    return diffusers.StableDiffusionXLPipeline(
        vae=_autoencoder(4, scaling_factor=0.13025, force_upcast=True),
        text_encoder=_clip(tokens, config.cross_attention_dim - pooled),
        text_encoder_2=_clip(tokens, pooled, projected=True),
        tokenizer=tokens,
        tokenizer_2=_tokens(),
        unet=net,
        scheduler=tiny.scheduler(),
        add_watermarker=False,
    )


def _sd(net: Any) -> Any:
    """Stable Diffusion 1.x."""
    tokens = _tokens()
    return tiny.assembled(
        tiny.autoencoder(0), tokens, _clip(tokens, net.config.cross_attention_dim), net
    )


def _tokens() -> Any:
    tokens = tiny.tokenizer()
    tokens.model_max_length = TOKENS
    return tokens


def _clip(tokens: Any, width: int, *, projected: bool = False) -> Any:
    """A CLIP text encoder of two layers, which may project what it pools."""
    from transformers import CLIPTextModelWithProjection

    made = tiny.text_encoder(tokens, 0, width=width, longest=TOKENS)
    return CLIPTextModelWithProjection(made.config) if projected else made


def _t5(width: int) -> tuple[Any, Any]:
    """A tokenizer of letters, and one layer of T5."""
    from transformers import T5Config, T5EncoderModel, T5Tokenizer

    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(letter, -3.0) for letter in "abcdefghijklmnopqrstuvwxyz"]
    tokens = T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=512)
    how = {"d_kv": 64, "d_ff": 64, "num_layers": 1, "num_heads": 1}
    return tokens, T5EncoderModel(T5Config(vocab_size=len(tokens), d_model=width, **how))


def _autoencoder(channels: int, **scales: Any) -> Any:
    """Small, with so many channels of latents, a picture eight times as long and wide."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8,) * 4,
        layers_per_block=1,
        latent_channels=channels,
        norm_num_groups=4,
        **scales,
    )
