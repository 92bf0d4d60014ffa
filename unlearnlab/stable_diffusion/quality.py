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

from ..images import contact_sheet, write_image
from .classifier import AttributeClassifier, load_classifier, rates_of
from .pipeline import TextToImage
from .scenes import ATTRIBUTES, COLOURS, Caption, draw_caption, drawings

SEED = 77
GUIDANCES = (1.0, 2.0)
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
    steps: int = 25,
    guidance: float = 1.0,
) -> dict[str, tuple[float, int]]:
    """For each attribute, the share of images that show it where the caption names it, and of how
    many; "uncalled" is the share of images without anything that its caption rules out."""
    generator = np.random.default_rng(SEED)
    captions = [draw_caption(generator) for _ in range(n)]
    found = torch.zeros(n, len(ATTRIBUTES), dtype=torch.bool)
    for text in tqdm(sorted({c.text() for c in captions}), desc="prompts", disable=None):
        places = [i for i, c in enumerate(captions) if c.text() == text]
        prompt = sd.prompt(text, guidance=guidance)
        images = prompt.images(len(places), steps=steps, seed=places[0])
        found[places] = classifier.attributes(images)
    shown: dict[str, list[bool]] = {name: [] for name in (*ATTRIBUTES, "uncalled")}
    for caption, row in zip(captions, found.tolist(), strict=True):
        has = dict(zip(ATTRIBUTES, row, strict=True))
        for name in asked(caption):
            shown[name].append(has[name])
        rates = caption.rates()
        shown["uncalled"].append(not any(has[name] for name in has if rates[name] == 0))
    return {name: (float(np.mean(seen)), len(seen)) for name, seen in shown.items() if seen}


def reconstruction_error(sd: TextToImage, images: Tensor) -> float:
    """Root mean square of a pixel between drawings and what the autoencoder makes of them."""
    return float((sd.decode(sd.encode(images)) - images).square().mean().sqrt())


def unasked(
    sd: TextToImage, caption: Caption, classifier: AttributeClassifier, *, n: int
) -> dict[str, tuple[float, float]]:
    """(share in images, rate in drawings) of what a caption leaves open."""
    share = rates_of(sd.prompt(caption.text()).images(n, seed=SEED), classifier)
    rates = caption.rates().items()
    return {name: (share[name], rate) for name, rate in rates if 0 < rate < 1}


def pictures(sd: TextToImage, drawn: Tensor) -> Tensor:
    """A sheet: drawings, what the autoencoder makes of them, and images of some prompts."""
    rows = [drawn, sd.decode(sd.encode(drawn))]
    rows += [sd.prompt(text).images(len(drawn), seed=SEED) for text in SHOWN]
    return contact_sheet(rows, scale=2)


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
    right = (classifier.attributes(held_out.images) == held_out.attributes).double().mean(0)
    heads = " | ".join(f"shown where asked, guidance {w:g}" for w in GUIDANCES)
    print(f"| attribute | classifier on held-out drawings | {heads} | of |")
    print("|---|---|---|---|---|")
    found = [faithfulness(sd, classifier, n=given.n, guidance=w) for w in GUIDANCES]
    for name, share in zip(ATTRIBUTES, right.tolist(), strict=True):
        nothing = (float("nan"), 0)
        rates = " | ".join(f"{shown.get(name, nothing)[0]:.1%}" for shown in found)
        print(f"| {name} | {share:.1%} | {rates} | {found[0].get(name, nothing)[1]} |")
    clean = " and ".join(f"{shown['uncalled'][0]:.1%}" for shown in found)
    print(f"\nNothing that the caption rules out: {clean}")
    print(f"Reconstruction error: {reconstruction_error(sd, held_out.images[:256]):.4f}\n")
    print("| prompt | attribute | images | drawings |")
    print("|---|---|---|---|")
    for caption in WATCHED:
        for name, (share, rate) in unasked(sd, caption, classifier, n=given.n // 2).items():
            if name not in COLOURS or caption.subject == "ball":
                print(f"| {caption.text()} | {name} | {share:.1%} | {rate:.0%} |")


if __name__ == "__main__":
    main()
