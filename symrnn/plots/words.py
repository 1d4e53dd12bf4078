"""Words on a plane."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

COLOURS_OF_MANY = [plt.colormaps["tab20"](k) for k in (*range(0, 20, 2), *range(1, 20, 2))]


def word_map(
    points: ArrayLike,
    words: Sequence[str],
    groups: Sequence[str] | None = None,
    pairs: Sequence[tuple[str, str]] = (),
    ax: Axes | None = None,
) -> Axes:
    """Draw words as points in a plane, each with its label where there is room for it.

    Parameters
    ----------
    points
        Where the words are, shape ``(words, 2)``, for example ``word_vectors.plane(words)``.
    words
        The labels.
    groups
        For each word the name of its group: groups have colours and a legend.
    pairs
        Pairs of words to draw a line between.
    ax
        Where to draw, of the size that it will have; a new figure by default.

    Raises
    ------
    ValueError
        If the shapes do not fit, a number is not finite, or a pair has a word that is not there.
    """
    xy = np.asarray(points, dtype=float)
    if xy.shape != (len(words), 2) or not xy.size or not np.isfinite(xy).all():
        raise ValueError(
            f"the points have shape {xy.shape}, but must be finite and have shape (words, 2) = "
            f"({len(words)}, 2), with at least one word"
        )
    names = list(dict.fromkeys(groups or [""]))
    if groups is not None and len(groups) != len(words):
        raise ValueError(f"there are {len(groups)} groups for {len(words)} words: give one each")
    if unknown := [word for pair in pairs for word in pair if word not in words]:
        raise ValueError(f"a pair has the word {unknown[0]!r}, which has no point")
    ax = plt.subplots(figsize=(8, 6), layout="constrained")[1] if ax is None else ax
    place = dict(zip(words, xy, strict=True))
    for a, b in pairs:
        ax.plot(*np.transpose([place[a], place[b]]), color="0.75", lw=0.8, zorder=1)
    colours = [COLOURS_OF_MANY[names.index(g) % 20] for g in groups or [""] * len(words)]
    for name in names:
        own = [k for k in range(len(words)) if groups is None or groups[k] == name]
        ax.scatter(xy[own, 0], xy[own, 1], s=12, color=colours[own[0]], label=name, zorder=2)
    ax.set(xticks=[], yticks=[])
    ax.margins(0.12)
    if groups is not None:
        ax.legend(
            fontsize="small", loc="upper center", bbox_to_anchor=(0.5, 0), ncols=4, frameon=False
        )  # fmt: skip
    _label_points(ax, xy, words, colours)
    return ax


def _label_points(ax: Axes, xy: Any, words: Sequence[str], colours: Sequence[Any]) -> None:
    """Write each word as near to its point as it covers no other; if that is far, with a line."""
    figure: Any = ax.figure.figure  # the whole one, where Axes are in a part of it
    figure.draw_without_rendering()
    to_points = 72 / figure.dpi
    frame = np.asarray(ax.get_window_extent().extents) * to_points
    dots = ax.transData.transform(xy) * to_points
    taken = np.concatenate([dots - 3, dots + 3], axis=1)  # boxes: left, bottom, right, top
    far = np.repeat([5, 12, 20, 30, 42, 56, 72], 12)
    angle = np.resize(np.arange(12) * np.pi / 6, len(far))
    towards = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    style: dict[str, Any] = {
        "textcoords": "offset points", "ha": "center", "va": "center", "parse_math": False,
    }  # fmt: skip
    for k, word in enumerate(words):
        label = ax.annotate(word, xy[k], (0, 0), fontsize="x-small", color=colours[k], **style)
        label.set_in_layout(False)
        extent = label.get_window_extent()
        size = np.array([extent.width, extent.height]) * to_points
        shifts = (far[:, None] + size / 2) * towards
        boxes = np.concatenate([dots[k] + shifts - size / 2, dots[k] + shifts + size / 2], axis=1)
        low = np.maximum(boxes[:, None, :2], taken[:, :2])
        high = np.minimum(boxes[:, None, 2:], taken[:, 2:])
        covered = np.prod(np.maximum(high - low, 0), axis=2).sum(axis=1)
        beyond = np.maximum(frame[:2] - boxes[:, :2], 0) + np.maximum(boxes[:, 2:] - frame[2:], 0)
        best = int(np.argmin(covered + 20 * beyond.sum(axis=1) + far / 10))
        label.set_position(tuple(shifts[best]))
        taken = np.concatenate([taken, boxes[best : best + 1]])
        if far[best] > 12:
            line = {"arrowstyle": "-", "lw": 0.4, "color": colours[k], "shrinkA": 0, "shrinkB": 0}
            end = far[best] * towards[best]
            ax.annotate("", xy[k], tuple(end), arrowprops=line, zorder=1, **style)
