"""Attention: which source tokens a decoder attends to for each target token."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike


def attention_map(
    weights: ArrayLike,
    source: Sequence[str],
    target: Sequence[str],
    *,
    ax: Axes | None = None,
    colorbar: bool = True,
) -> Axes:
    """Draw attention weights as a heat map: a row for each target token.

    Parameters
    ----------
    weights
        Attention weights, not negative, shape ``(target, source)``: row k was used to predict
        ``target[k]``.
    source, target
        Tokens, as lists or strings. The source is along the upper edge, the target runs downwards;
        spaces and line ends are shown as symbols. An answer of `symrnn.Translator` holds all three:
        ``answer.weights, answer.source, answer.tokens``.
    ax
        Where to draw; by default a new figure that is large enough for the tokens.
    colorbar
        Draw the scale of colours, from 0 to the largest weight, beside the map.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn on.

    Examples
    --------
    >>> weights = [[0.9, 0.1, 0.0], [0.2, 0.3, 0.5]]
    >>> ax = attention_map(weights, ["I", "am", "here"], ["ich", "bin"])
    """
    a, across, down = _attention(weights, source, target)
    long = max(map(len, across)) > 2
    if ax is None:
        width = 0.27 * len(across) + 0.09 * max(map(len, down)) + (1.6 if colorbar else 0.8)
        height = 0.27 * len(down) + 0.09 * (max(map(len, across)) if long else 2) + 0.6
        ax = plt.subplots(figsize=(max(width, 3), max(height, 2)), layout="constrained")[1]
    drawn = ax.imshow(a, cmap="Blues", vmin=0, aspect="auto")
    ax.set_xticks(range(len(across)), across, rotation=90 if long else 0, parse_math=False)
    ax.set_yticks(range(len(down)), down, parse_math=False)
    ax.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
    ax.xaxis.set_label_position("top")
    ax.set(xlabel="source", ylabel="target")
    if colorbar:
        ax.figure.colorbar(drawn, ax=ax, label="attention", pad=0.02)
    return ax


def attention_strip(
    weights: ArrayLike,
    source: Sequence[str],
    target: Sequence[str],
    *,
    steps: Sequence[int] | None = None,
) -> list[Axes]:
    """Draw a target as it grows: for each step a panel with the source, coloured by attention.

    To the left of each panel stands the target so far, its newest token in red. Tokens are
    separated by spaces unless all but the last, often ``<eos>``, are single characters.

    Parameters
    ----------
    weights
        Attention weights, not negative, shape ``(target, source)``: row k was used to predict
        ``target[k]``.
    source, target
        Tokens, as lists or strings; spaces and line ends are shown as symbols.
    steps
        Positions of the target tokens that get a panel. By default all of them, or twelve evenly
        spaced ones if there are more.

    Returns
    -------
    list of matplotlib.axes.Axes
        Panels of a new figure, from top to bottom. All have the same scale of colours; white is 0.

    Examples
    --------
    >>> weights = [[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]]
    >>> axes = attention_strip(weights, "ab", ["A", "B", "<eos>"])
    >>> len(axes)
    3
    """
    a, across, down = _attention(weights, source, target)
    n = len(down)
    shown = np.linspace(0, n - 1, min(n, 12)).round() if steps is None else np.asarray(steps)
    if shown.ndim != 1 or not shown.size or not np.isin(shown, np.arange(n)).all():
        raise ValueError(f"the steps are {steps}, but must be some of 0 to {n - 1}")
    between = "" if all(len(token) == 1 for token in down[:-1]) else " "
    cell = 0.1 * max(map(len, across)) + 0.14
    left = 0.1 * sum(len(token) + len(between) for token in down) + 0.2
    _, grid = plt.subplots(
        len(shown), 1, figsize=(left + cell * len(across) + 0.2, 0.38 * len(shown) + 0.2),
        squeeze=False, layout="constrained",
    )  # fmt: skip
    for ax, k in zip(grid[:, 0], shown.astype(int).tolist(), strict=True):
        ax.imshow(a[[k]], cmap="Blues", vmin=0, vmax=a.max(), aspect="auto")
        ax.set(xticks=[], yticks=[])
        for i, token in enumerate(across):
            colour = "white" if a[k, i] > 0.6 * a.max() else "black"
            ax.text(i, 0, token, color=colour, ha="center", va="center", parse_math=False)
        place = {"textcoords": "offset points", "ha": "right", "va": "center", "parse_math": False}
        newest = ax.annotate(
            down[k], (0, 0.5), (-6, 0), xycoords="axes fraction", color="tab:red", **place
        )
        before = between.join(down[:k]) + between
        ax.annotate(before, (0, 0.5), (0, 0), xycoords=newest, **place)
    return list(grid[:, 0])


def _attention(
    weights: ArrayLike, source: Sequence[str], target: Sequence[str]
) -> tuple[Any, list[str], list[str]]:
    """Return the weights, checked, and the tokens of source and target as they are shown."""
    if weights is None:
        raise ValueError("the weights are None: the model that gave this answer has no attention")
    a = np.asarray(weights, dtype=float)
    if a.shape != (len(target), len(source)) or not a.size:
        raise ValueError(
            f"the weights have shape {a.shape}, but must have shape (target, source) = "
            f"{(len(target), len(source))}, the numbers of tokens, and at least one of each: of a "
            "translator's answer, give weights, source and tokens (its text lacks <eos>)"
        )
    if not (np.isfinite(a).all() and (a >= 0).all()):
        raise ValueError("attention weights must not be negative, NaN or infinite")
    marks = str.maketrans(" \n", "\u2423\u21b5")
    across, down = ([str(token).translate(marks) for token in side] for side in (source, target))
    return a, across, down
