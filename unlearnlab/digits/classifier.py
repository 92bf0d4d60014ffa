"""A small convolutional classifier of the digits; its features are the default descriptor."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from .data import CLASSES

WEIGHTS = Path(__file__).parent / "weights" / "classifier.safetensors"

FEATURES = 64


class Classifier(nn.Module):
    """Class logits (B, 10) of images (B, 1, 8, 8) in [−1, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(256, FEATURES),
            nn.ReLU(),
        )
        self.head = nn.Linear(FEATURES, CLASSES)

    def features(self, images: Tensor) -> Tensor:
        """(B, 64) non-negative, the last layer before the logits."""
        return self.body(images)

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        return self.head(self.features(images))

    def descriptor(self) -> Descriptor:
        """Its features as a module."""
        return Descriptor(self)


class Descriptor(nn.Module):
    """The features f of a classifier as 8f/‖f‖: images → (B, 64), of mean square 1.

    Attributes:
        num_features: length of a feature vector, as torchmetrics asks for it.
    """

    num_features = FEATURES

    def __init__(self, classifier: Classifier):
        super().__init__()
        self.classifier = classifier

    def forward(self, images: Tensor) -> Tensor:
        """Features."""
        rows = self.classifier.features(images)
        return FEATURES**0.5 * nn.functional.normalize(rows, dim=1)


def load_classifier(*, device: str | torch.device = "cpu") -> Classifier:
    """The classifier that the package ships: at least 98 % right on the digits held out."""
    classifier = Classifier()
    weights = load_file(WEIGHTS)
    classifier.load_state_dict({name: w.float() for name, w in weights.items()})
    return classifier.to(device).eval().requires_grad_(False)
