"""What the explorers share: one picture, controls, and a reason where there is no picture."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from base64 import b64encode
from collections.abc import Sequence
from html import escape
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from .. import plot
from ..density import GridDensity

VIEW = "application/vnd.jupyter.widget-view+json"
DPI = 100


class Explorer(ABC):
    """A picture with controls. Display it as the last line of a cell.

    Attributes:
        view: the ipywidgets box.
        figure: the Matplotlib figure that is shown; None while a reason is shown in its place.
        said: what the line above the picture says, or the reason why there is no picture.
    """

    label: str  # what a front end without widgets and pictures shows
    size: tuple[float, float]  # inches

    def __init__(self, controls: Sequence[Any]):
        widgets = ipywidgets_or_advice()
        # An <img>, not an Image widget: it has alternative text, and needs no binary messages,
        # which not every server passes on.
        self._image, self._picture = widgets.HTML(), ""
        # As high as the picture: the page must not jump while a slider is held.
        room = widgets.Layout(min_height=f"{self.size[1] * DPI:.0f}px")
        self._reason, self._words = widgets.HTML(layout=room), widgets.HTML()
        self._stage = widgets.VBox([self._image])
        self.view = widgets.VBox([*controls, self._words, self._stage])
        self.figure: Figure | None = None
        self._drawn: set[Figure] = set()
        self.said = ""
        self._show(self._solve())  # the first time, errors are the caller's

    @abstractmethod
    def _solve(self) -> Any:
        """What the controls ask for; a ValueError when it does not exist."""

    @abstractmethod
    def _draw(self, solved: Any) -> tuple[Figure, str]:
        """The picture of it, and the sentence above the picture."""

    def _update(self, change: Any = None) -> None:
        """Follow the controls."""
        try:
            solved = self._solve()
        except ValueError as error:
            self.figure, self.said = None, str(error)
            self._words.value, self._reason.value = "", f"<p>No answer: {escape(self.said)}.</p>"
            self._stage.children = [self._reason]
        else:
            self._show(solved)

    def _show(self, solved: Any) -> None:
        with plot.style(), rc_context({"axes.titley": 1.0}):
            figure, said = self._draw(solved)
            picture = io.BytesIO()
            # Not savefig, which draws twice, and fast compression: bytes are cheap, waiting is not.
            FigureCanvasAgg(figure).print_png(picture, pil_kwargs={"compress_level": 1})
        if figure not in self._drawn:
            hold_labels(figure)
            self._drawn.add(figure)
        self.figure, self.said = figure, said
        self._picture = b64encode(picture.getvalue()).decode("ascii")
        source = f"data:image/png;base64,{self._picture}"
        self._image.value = f'<img src="{source}" alt="{escape(said)}" style="max-width: 100%">'
        self._words.value = f"<p>{escape(said)}</p>"
        self._stage.children = [self._image]

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The widget, and for front ends without widgets its picture with alternative text."""
        data = {"text/plain": self.label, VIEW: self.view._repr_mimebundle_()[VIEW]}
        if self.figure is None:
            return data, {}
        data["image/png"] = self._picture
        return data, {"image/png": {"alt": f"{self.label} {self.said}"}}


def blank(size: tuple[float, float], **margins: float) -> Figure:
    """A figure with fixed margins: nothing jumps, and no time goes into a layout."""
    figure = Figure(figsize=size, dpi=DPI, layout="none")  # type: ignore[arg-type]
    figure.subplots_adjust(**margins)
    return figure


def hold_labels(figure: Figure) -> None:
    """Keep axis labels where they are: looking for their place takes a fifth of a frame."""
    for ax in figure.axes:
        below, left = ax.xaxis.label.get_position()[1], ax.yaxis.label.get_position()[0]
        x, y = ax.transAxes.inverted().transform((left, below))
        ax.xaxis.set_label_coords(0.5, y)
        ax.yaxis.set_label_coords(x, 0.5)


def wipe(ax: Axes) -> None:
    """Take off what was drawn. Axes and ticks stay, which take longest to make."""
    for artist in [*ax.lines, *ax.collections, *ax.patches, *ax.texts]:
        artist.remove()
    ax.containers.clear()
    ax.set_prop_cycle(None)


def slider(kind: str, description: str, **options: Any) -> Any:
    """A wide slider, "FloatSlider" or "FloatLogSlider"."""
    widgets = ipywidgets_or_advice()
    return getattr(widgets, kind)(
        description=description,
        style={"description_width": "initial"},
        layout=widgets.Layout(width="100%", max_width="600px"),
        **options,
    )


def require_line(name: str, model: Any) -> None:
    """Refuse what is not a density on a 1-D grid."""
    if not isinstance(model, GridDensity):
        raise TypeError(f"{name} must be a density on a grid; got {type(model).__name__}")
    if model.grid.dim != 1:
        raise ValueError(f"{name} must live on a 1-D grid; got {model.grid}")


def ipywidgets_or_advice() -> Any:
    """The module, imported when an explorer is made; where it is missing, how to get it."""
    try:
        import ipywidgets
    except ImportError as error:
        raise ImportError(
            'the explorers need ipywidgets: pip install "unlearnlab[course]"'
        ) from error
    return ipywidgets
