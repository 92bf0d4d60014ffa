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
    stock = _pipeline(net)
    for part in stock.components.values():
        if isinstance(part, torch.nn.Module):
            part.to(dtype)
    net.to(device)
    return ul.TextToImage(stock, "random weights")


def _pipeline(net: Any) -> Any:
    import diffusers

    tokens, kind = _tokens(), type(net).__name__
    if kind == "FluxTransformer2DModel":
        t5_tokens, t5 = _t5(net.config.joint_attention_dim)
        return diffusers.FluxPipeline(
            vae=_autoencoder(16),
            text_encoder=tiny.text_encoder(tokens, 0, width=768, longest=TOKENS),
            text_encoder_2=t5,
            tokenizer=tokens,
            tokenizer_2=t5_tokens,
            transformer=net,
            scheduler=diffusers.FlowMatchEulerDiscreteScheduler(
                shift=3.0, use_dynamic_shifting=True, base_shift=0.5, max_shift=1.15
            ),
        )
    if kind == "SD3Transformer2DModel":
        t5_tokens, t5 = _t5(net.config.joint_attention_dim)
        return diffusers.StableDiffusion3Pipeline(
            vae=_autoencoder(16),
            text_encoder=_projected(tokens, 768),
            text_encoder_2=_projected(tokens, 1280),
            text_encoder_3=t5,
            tokenizer=tokens,
            tokenizer_2=_tokens(),
            tokenizer_3=t5_tokens,
            transformer=net,
            scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
        )
    width = net.config.cross_attention_dim
    if net.config.addition_embed_type:
        return diffusers.StableDiffusionXLPipeline(
            vae=tiny.autoencoder(0),
            text_encoder=tiny.text_encoder(tokens, 0, width=768, longest=TOKENS),
            text_encoder_2=_projected(tokens, width - 768),
            tokenizer=tokens,
            tokenizer_2=_tokens(),
            unet=net,
            scheduler=tiny.scheduler(),
            add_watermarker=False,
        )
    encoder = tiny.text_encoder(tokens, 0, width=width, longest=TOKENS)
    return tiny.assembled(tiny.autoencoder(0), tokens, encoder, net)


def _tokens() -> Any:
    tokens = tiny.tokenizer()
    tokens.model_max_length = TOKENS
    return tokens


def _projected(tokens: Any, width: int) -> Any:
    """A CLIP text encoder with a projection."""
    from transformers import CLIPTextModelWithProjection

    config = tiny.text_encoder(tokens, 0, width=width, longest=TOKENS).config
    return CLIPTextModelWithProjection(config)


def _t5(width: int) -> tuple[Any, Any]:
    """A tokenizer of letters, and one layer of T5."""
    from transformers import T5Config, T5EncoderModel, T5Tokenizer

    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(letter, -3.0) for letter in "abcdefghijklmnopqrstuvwxyz"]
    tokens = T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=512)
    how = {"d_kv": 64, "d_ff": 64, "num_layers": 1, "num_heads": 1}
    return tokens, T5EncoderModel(T5Config(vocab_size=len(tokens), d_model=width, **how))


def _autoencoder(channels: int) -> Any:
    """Small, with so many channels of latents, a picture eight times as long and wide."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8,) * 4,
        layers_per_block=1,
        latent_channels=channels,
        norm_num_groups=4,
        shift_factor=0.0,
    )
