"""Explorers for JupyterLab: drag a number, see what it does to an unlearning problem.

Each is one picture, drawn anew whenever a control moves, so it needs no Matplotlib backend in the
browser; where widgets cannot run (GitHub, a PDF) the picture stands alone. Needs ipywidgets.
"""

from __future__ import annotations

from .comb import CombExplorer
from .explorer import Explorer
from .threshold import ThresholdExplorer

__all__ = ["CombExplorer", "Explorer", "ThresholdExplorer"]
