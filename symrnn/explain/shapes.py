"""Boxes, arrows and labels: what the pictures of scans are made of."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

BLUE, ORANGE, GREEN, GREY = "#2b6cb0", "#b7500f", "#2f7a4f", "#4a5568"
COLOURS = {"sequence": GREEN, "state": ORANGE, "non-sequence": GREY, "shared": GREY}
"""Colours of the kinds of arguments."""


def blank(ax: Axes, width: float, height: float) -> None:
    """Empty axes of this size."""
    ax.set(xlim=(0, width), ylim=(0, height))
    ax.axis("off")


def box(ax: Axes, x: float, y: float, width: float, height: float, colour: str = BLUE) -> None:
    """A rounded box around the point (x, y)."""
    corner = (x - width / 2, y - height / 2)
    shape = FancyBboxPatch(corner, width, height, boxstyle="round,pad=0,rounding_size=0.15")
    shape.set(facecolor="#f7fafc", edgecolor=colour, linewidth=1.6, zorder=2)
    ax.add_patch(shape)


def text_at(ax: Axes, x: float, y: float, text: str, **style: Any) -> None:
    """A text, in which dollar signs are ordinary characters."""
    ax.text(x, y, text, parse_math=False, **style)


def arrow(ax: Axes, tail: Any, head: Any, colour: str, bend: float = 0.0) -> None:
    """An arrow between two points."""
    arrow = FancyArrowPatch(
        tail, head, arrowstyle="-|>", connectionstyle=f"arc3,rad={bend}", shrinkA=0, shrinkB=0,
        mutation_scale=13, linewidth=1.5, color=colour,
    )  # fmt: skip
    ax.add_patch(arrow)
