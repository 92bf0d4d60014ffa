"""Rung 3: prompts of Stable Diffusion as distributions, LoRA students, and a tiny pipeline."""

from .lora import LoRA
from .pipeline import TextToImage
from .prompt import Prompt

__all__ = ["LoRA", "Prompt", "TextToImage"]
