"""A small convolutional classifier of the digits; its features are the default descriptor."""

from __future__ import annotations

from torch import Tensor, nn

from .data import CLASSES

FEATURES = 64


class Classifier(nn.Module):
    """Class logits (B, 10) of images (B, 1, 8, 8) in [−1, 1].

    Attributes:
        num_features: length of a feature vector, as torchmetrics asks for it.
    """

    num_features = FEATURES

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
