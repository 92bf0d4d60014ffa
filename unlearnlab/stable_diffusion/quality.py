"""How good the tiny pipeline is: `python -m unlearnlab.stable_diffusion.quality [FOLDER]`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ..diffusion import sampling
from ..images import contact_sheet, write_image
from .classifier import AttributeClassifier, load_classifier, rates_of
from .pipeline import TextToImage
from .scenes import ATTRIBUTES, COLOURS, Caption, Drawings, draw_caption, drawings

SEED, STEPS = 77, 25
STARTS = (-5, -4, -3, -2)  # log-SNRs
SAMPLERS: dict[str, Any] = {"DDIM": {"sampler": "ddim"}, "DDPM": {"sampler": "ddpm"}}
WAYS: dict[str, Any] = {**SAMPLERS, "DDIM, guidance 2": {"guidance": 2.0}}
SHOWN = ("a cowboy", "a ball", "a house at night", "a horse in the desert", "a tree with a ball")
WATCHED = (Caption("cowboy"), Caption("ball"), Caption("house"))  # whose unasked rates are shown


def asked(caption: Caption) -> list[str]:
    """The attributes that a caption names."""
    named = (caption.subject, caption.companion, caption.colour, caption.place)
    return [name for name in named if name]


def faithfulness(
    sd: TextToImage,
    classifier: AttributeClassifier,
    *,
    n: int,
    guidance: float = 1.0,
    **how: Any,
) -> dict[str, tuple[float, int]]:
    """For each attribute, the share of images that show it where the caption names it, and of how
    many; "uncalled" is the share of images without anything that its caption rules out. `how`
    goes to `Prompt.images`."""
    generator = np.random.default_rng(SEED)
    captions = [draw_caption(generator) for _ in range(n)]
    found = torch.zeros(n, len(ATTRIBUTES), dtype=torch.bool)
    for text in tqdm(sorted({c.text() for c in captions}), desc="prompts", disable=None):
        places = [i for i, c in enumerate(captions) if c.text() == text]
        prompt = sd.prompt(text, guidance=guidance)
        images = prompt.images(len(places), steps=STEPS, seed=places[0], **how)
        found[places] = classifier.attributes(images).cpu()
    shown: dict[str, list[bool]] = {name: [] for name in (*ATTRIBUTES, "uncalled")}
    for caption, row in zip(captions, found.tolist(), strict=True):
        has = dict(zip(ATTRIBUTES, row, strict=True))
        for name in asked(caption):
            shown[name].append(has[name])
        rates = caption.rates()
        shown["uncalled"].append(not any(has[name] for name in has if rates[name] == 0))
    return {name: (float(np.mean(seen)), len(seen)) for name, seen in shown.items() if seen}


def taken_over(
    sd: TextToImage, classifier: AttributeClassifier, log_snr: float, *, sampler: str, n: int
) -> float:
    """The share of right colours where a sampler starts from drawings noised to a log-SNR: what it
    loses from there on. The captions are a ball of each colour with a tree."""
    t = int((sd.schedule.log_snr - log_snr).abs().argmin())
    steps = sampling.chain(sd.schedule, sampler, STEPS, start=t)
    right = []
    for colour in COLOURS:
        caption = Caption("ball", "tree", colour)
        clean = sd.encode(drawings(n, seed=SEED, captions=[caption]).images)
        generator = torch.Generator().manual_seed(SEED)
        noise = torch.randn(clean.shape, generator=generator).to(clean)
        x_t = sd.schedule.noised(clean, torch.full((n,), t, device=clean.device), noise)
        for taken in sampling.unfold(sd.prompt(caption.text()), x_t, steps, generator):
            x_t = taken.x_s
        right.append(classifier.attributes(sd.decode(x_t))[:, ATTRIBUTES.index(colour)])
    return float(torch.cat(right).cpu().double().mean())


def reconstruction_error(sd: TextToImage, images: Tensor) -> float:
    """Root mean square of a pixel between drawings and what the autoencoder makes of them."""
    again = sd.decode(sd.encode(images))
    return float((again - images.to(again)).square().mean().sqrt())


def unasked(
    sd: TextToImage, caption: Caption, classifier: AttributeClassifier, *, n: int, **how: Any
) -> dict[str, tuple[float, float]]:
    """(share in images, rate in drawings) of what a caption leaves open."""
    share = rates_of(sd.prompt(caption.text()).images(n, steps=STEPS, seed=SEED, **how), classifier)
    rates = caption.rates().items()
    return {name: (share[name], rate) for name, rate in rates if 0 < rate < 1}


def pictures(sd: TextToImage, drawn: Tensor) -> Tensor:
    """A sheet: drawings, what the autoencoder makes of them, and images of some prompts."""
    rows = [drawn, sd.decode(sd.encode(drawn))]
    rows += [sd.prompt(text).images(len(drawn), seed=SEED) for text in SHOWN]
    return contact_sheet([row.cpu() for row in rows], scale=2)


def print_table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """In Markdown; floats are shares."""
    print(f"| {' | '.join(heads)} |\n{'|---' * len(heads)}|")
    for row in rows:
        cells = [f"{cell:.1%}" if isinstance(cell, float) else str(cell) for cell in row]
        print(f"| {' | '.join(cells)} |")
    print()


def print_asked(
    sd: TextToImage, classifier: AttributeClassifier, held_out: Drawings, n: int
) -> None:
    """What captions name, of n captions."""
    right = (classifier.attributes(held_out.images) == held_out.attributes).double().mean(0)
    found = [faithfulness(sd, classifier, n=n, **how) for how in WAYS.values()]
    nothing: tuple[Any, int] = ("–", 0)
    rows = []
    for name, told in zip(ATTRIBUTES, right.tolist(), strict=True):
        shown = [one.get(name, nothing) for one in found]
        rows.append([name, told, *(share for share, _ in shown), shown[0][1]])
    heads = (f"shown where asked, {way}" for way in WAYS)
    print_table(["attribute", "classifier on held-out drawings", *heads, "of"], rows)
    clean = ", ".join(f"{shown['uncalled'][0]:.1%}" for shown in found)
    print(f"Nothing that the caption rules out: {clean}")
    print(f"Reconstruction error: {reconstruction_error(sd, held_out.images[:256]):.4f}\n")


def print_unasked(sd: TextToImage, classifier: AttributeClassifier, n: int) -> None:
    """What captions leave open, in n images of each."""
    rows = []
    for caption in WATCHED:
        ways = [unasked(sd, caption, classifier, n=n, **how) for how in SAMPLERS.values()]
        for name, (_, rate) in ways[0].items():
            if name not in COLOURS or caption.subject == "ball":
                shares = (found[name][0] for found in ways)
                rows.append([caption.text(), name, *shares, f"{rate:.0%}"])
    print_table(["prompt", "attribute", *SAMPLERS, "drawings"], rows)


def print_taken_over(sd: TextToImage, classifier: AttributeClassifier, n: int) -> None:
    """How the samplers go on from noised drawings, n of each colour."""
    rows = []
    for start in STARTS:
        ways = SAMPLERS.values()
        rows.append([start, *(taken_over(sd, classifier, start, n=n, **how) for how in ways)])
    print_table(["right colours from log-SNR", *SAMPLERS], rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m unlearnlab.stable_diffusion.quality")
    parser.add_argument("folder", nargs="?", default="tiny", help="of the pipeline")
    parser.add_argument("-n", type=int, default=600, help="captions")
    parser.add_argument("--pictures", type=Path, help="write a sheet of images to this PNG")
    given: Any = parser.parse_args(arguments)
    sd, classifier = TextToImage.from_pretrained(given.folder), load_classifier()
    held_out = drawings(1000, seed=SEED)
    if given.pictures:
        write_image(given.pictures, pictures(sd, held_out.images[:12]))
    print_asked(sd, classifier, held_out, given.n)
    print_unasked(sd, classifier, given.n // 2)
    print_taken_over(sd, classifier, given.n // 10)


if __name__ == "__main__":
    main()
