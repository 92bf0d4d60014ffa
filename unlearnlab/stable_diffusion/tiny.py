"""The parts of the tiny pipeline, untrained: a Stable Diffusion 1.x in everything but size."""

from __future__ import annotations

from graphlib import TopologicalSorter
from itertools import pairwise
from typing import Any

import torch

from .scenes import SIZE, words

START, END = "<|startoftext|>", "<|endoftext|>"
LONGEST = 16  # tokens of a prompt
WIDTH = 96  # of the text encoder
LATENT = 8  # latents are 4 × 8 × 8


def tokenizer() -> Any:
    """CLIP's byte-pair tokenizer, for which every word of the captions is one token."""
    from transformers import CLIPTokenizer

    merges = _merges()
    letters = sorted({piece for word in words() for piece in _letters(word)})
    pieces = dict.fromkeys([START, END, *letters, *("".join(pair) for pair in merges)])
    vocab = {piece: i for i, piece in enumerate(pieces)}
    made: Any = CLIPTokenizer  # its hints leave out pairs
    return made(vocab=vocab, merges=merges, model_max_length=LONGEST)


def _letters(word: str) -> list[str]:
    return [*word[:-1], f"{word[-1]}</w>"]


def _merges() -> list[tuple[str, str]]:
    """Merges that build each word from its left, letter by letter.

    A word within which the first two letters of another occur ("photo", and "horse") comes first:
    byte-pair encoding takes the earliest merge that it finds anywhere in a word.
    """
    before: dict[str, set[str]] = {word: set() for word in words()}
    for word in before:
        pairs = set(pairwise(_letters(word)[1:]))
        for other in before:
            if other != word and tuple(_letters(other)[:2]) in pairs:
                before[other].add(word)
    merges: dict[tuple[str, str], None] = {}
    for word in TopologicalSorter(before).static_order():
        first, *others = _letters(word)
        for letter in others:
            merges[first, letter] = None
            first += letter
    return list(merges)


def text_encoder(tokens: Any, seed: int, *, width: int = WIDTH, longest: int = LONGEST) -> Any:
    """A CLIPTextModel of two layers; of 0.16 M parameters at the tiny pipeline's width."""
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        vocab_size=len(tokens),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=longest,
        projection_dim=width,
        bos_token_id=tokens.bos_token_id,
        eos_token_id=tokens.eos_token_id,
        pad_token_id=tokens.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CLIPTextModel(config)


def autoencoder(seed: int) -> Any:
    """An AutoencoderKL of 0.7 M parameters: 3 × 32 × 32 to 4 × 8 × 8."""
    from diffusers import AutoencoderKL

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoencoderKL(
            in_channels=3,
            out_channels=3,
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            block_out_channels=(16, 32, 64),
            layers_per_block=1,
            latent_channels=4,
            norm_num_groups=8,
            sample_size=SIZE,
        )


def unet(seed: int) -> Any:
    """A UNet2DConditionModel of 1.6 M parameters with cross-attention at 4 × 4."""
    from diffusers import UNet2DConditionModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UNet2DConditionModel(
            sample_size=LATENT,
            in_channels=4,
            out_channels=4,
            layers_per_block=1,
            block_out_channels=(40, 80),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=WIDTH,
            attention_head_dim=4,
            norm_num_groups=8,
        )


def scheduler() -> Any:
    """DDIM with the noise schedule of Stable Diffusion 1.x."""
    from diffusers import DDIMScheduler

    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def assembled(vae: Any, tokens: Any, text: Any, denoiser: Any) -> Any:
    """A stock StableDiffusionPipeline of these parts."""
    from diffusers import StableDiffusionPipeline

    made: Any = StableDiffusionPipeline
    return made(
        vae=vae,
        text_encoder=text,
        tokenizer=tokens,
        unet=denoiser,
        scheduler=scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def untrained() -> Any:
    """The whole pipeline with random weights, to try things on."""
    tokens = tokenizer()
    return assembled(autoencoder(0), tokens, text_encoder(tokens, 0), unet(0))
