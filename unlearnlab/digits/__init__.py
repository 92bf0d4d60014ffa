"""Handwritten digits: data, a classifier, and three small DDPMs trained on them.

The weights are float16 in safetensors, a few megabytes in all; `README.md` beside them is their
model card, and `python -m unlearnlab.digits.train` makes them again.
"""

from .classifier import Classifier, Descriptor, load_classifier
from .data import Digits, data
from .models import PLANTED, load_model

__all__ = [
    "PLANTED",
    "Classifier",
    "Descriptor",
    "Digits",
    "data",
    "load_classifier",
    "load_model",
]
