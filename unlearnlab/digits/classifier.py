"""A small convolutional classifier of the digits; its inner features describe an image."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from .data import CLASSES

WEIGHTS = Path(__file__).parent / "weights" / "classifier.safetensors"

CONVOLVED, FEATURES = 256, 64  # numbers after the convolutions, and before the logits


class Classifier(nn.Module):
    """Class logits (B, 10) of images (B, 1, 8, 8) in [−1, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.convolved = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
        )
        self.head = nn.Sequential(
            nn.Dropout(0.3),
            nn.Linear(CONVOLVED, FEATURES),
            nn.ReLU(),
            nn.Linear(FEATURES, CLASSES),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        return self.head(self.convolved(images))

    def descriptor(self) -> Descriptor:
        """Its convolutions as a module."""
        return Descriptor(self.convolved, CONVOLVED)


class Descriptor(nn.Module):
    """The F features f of a classifier's last convolution as √F·f/‖f‖: images → (B, F).

    They tell images of one class apart, as those before the logits do less; their mean square is 1.

    Args:
        convolved: the convolutions, from images to rows.
        num_features: F; torchmetrics asks for it by this name.
    """

    def __init__(self, convolved: nn.Module, num_features: int):
        super().__init__()
        self.convolved, self.num_features = convolved, num_features

    def forward(self, images: Tensor) -> Tensor:
        """Features."""
        rows = self.convolved(images)
        return self.num_features**0.5 * nn.functional.normalize(rows, dim=1)


def load_classifier(*, device: str | torch.device = "cpu") -> Classifier:
    """The classifier that the package ships: at least 98 % right on the digits held out."""
    classifier = Classifier()
    weights = load_file(WEIGHTS)
    classifier.load_state_dict({name: w.float() for name, w in weights.items()})
    return classifier.to(device).eval().requires_grad_(False)
