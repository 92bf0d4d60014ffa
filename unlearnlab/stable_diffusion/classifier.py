"""A classifier of the attributes of drawn scenes."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ..digits.classifier import Descriptor
from .scenes import ATTRIBUTES

WEIGHTS = Path(__file__).parent / "weights" / "attributes.safetensors"
CONVOLVED = 1024  # numbers after the convolutions


class AttributeClassifier(nn.Module):
    """Logits (n, 13) of `ATTRIBUTES`, each for itself, of images (n, 3, 32, 32) in [−1, 1]."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 24, 48, 64, 64)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
            if after != before:
                layers.append(nn.MaxPool2d(2))
        self.convolved = nn.Sequential(*layers, nn.Flatten())
        self.head = nn.Sequential(
            nn.Dropout(0.3), nn.Linear(CONVOLVED, 96), nn.ReLU(), nn.Linear(96, len(ATTRIBUTES))
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        return self.head(self.convolved(images))

    def descriptor(self) -> Descriptor:
        """Its convolutions as a module, for kernel distances: images → (n, 1024)."""
        return Descriptor(self.convolved, CONVOLVED)

    def attributes(self, images: Tensor) -> Tensor:
        """(n, 13) which attributes the images have."""
        with torch.no_grad():
            own = next(self.parameters()).device
            return torch.cat([self(part) for part in images.to(own).split(512)]) > 0


def rates_of(images: Tensor, classifier: AttributeClassifier) -> dict[str, float]:
    """The share of images that have each attribute."""
    found = classifier.attributes(images).cpu().double().mean(0).tolist()
    return dict(zip(ATTRIBUTES, found, strict=True))


def load_classifier(*, device: str | torch.device = "cpu") -> AttributeClassifier:
    """The classifier that the package ships."""
    classifier = AttributeClassifier()
    weights = load_file(WEIGHTS)
    classifier.load_state_dict({name: w.float() for name, w in weights.items()})
    return classifier.to(device).eval().requires_grad_(False)
