"""Word vectors on a plane: points with labels that do not cover each other."""

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
    *,
    groups: Sequence[str] | None = None,
    pairs: Sequence[tuple[str, str]] = (),
    ax: Axes | None = None,
) -> Axes:
    """Draw words as points in a plane, each with a label near its point.

    Parameters
    ----------
    points
        Positions of the words, shape ``(words, 2)``, for example ``word_vectors.plane(words)``.
    words
        The labels.
    groups
        Name of the group of each word: groups have colours and a legend.
    pairs
        Pairs of words to connect with a line.
    ax
        Where to draw, at its final size, on which the positions of the labels depend; by default a
        new figure.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn on.

    Examples
    --------
    >>> points = [[0.0, 1.0], [0.2, 0.8], [1.0, 0.0], [1.2, -0.2]]
    >>> words, groups = ["cat", "dog", "red", "blue"], ["animal", "animal", "colour", "colour"]
    >>> ax = word_map(points, words, groups=groups, pairs=[("cat", "dog")])
    """
    xy = np.asarray(points, dtype=float)
    if xy.shape != (len(words), 2) or not xy.size or not np.isfinite(xy).all():
        raise ValueError(
            f"points has shape {xy.shape}, but must be finite and have shape (words, 2) = "
            f"({len(words)}, 2), with at least one word"
        )
    names = list(dict.fromkeys(groups or [""]))
    if groups is not None and len(groups) != len(words):
        raise ValueError(f"there are {len(groups)} groups for {len(words)} words: give one each")
    if unknown := [word for pair in pairs for word in pair if word not in words]:
        raise ValueError(f"a pair has the word {unknown[0]!r}, which has no point")
    ax = plt.subplots(figsize=(8, 6), layout="constrained")[1] if ax is None else ax
    position = dict(zip(words, xy, strict=True))
    for a, b in pairs:
        ax.plot(*np.transpose([position[a], position[b]]), color="0.75", lw=0.8, zorder=1)
    colours = [COLOURS_OF_MANY[names.index(g) % 20] for g in groups or [""] * len(words)]
    for name in names:
        members = [k for k in range(len(words)) if groups is None or groups[k] == name]
        x, y = xy[members].T
        ax.scatter(x, y, s=12, color=colours[members[0]], label=name, zorder=2)
    ax.set(xticks=[], yticks=[])
    ax.margins(0.12)
    if groups is not None:
        ax.legend(
            fontsize="small", loc="upper center", bbox_to_anchor=(0.5, 0), ncols=4, frameon=False
        )  # fmt: skip
    _label_points(ax, xy, words, colours)
    return ax


def _label_points(ax: Axes, xy: Any, words: Sequence[str], colours: Sequence[Any]) -> None:
    """Place each label near its point and over no other; a line joins those that are far away."""
    figure: Any = ax.figure.figure  # the whole one, also if the Axes are in a subfigure
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
