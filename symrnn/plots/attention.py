"""What a decoder looks at."""

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
    ax: Axes | None = None,
    bar: bool = True,
) -> Axes:
    """Draw which tokens of the source were attended to for each token of the target.

    Parameters
    ----------
    weights
        Attention, not negative, shape ``(target, source)``: row k was used to write ``target[k]``.
    source, target
        The tokens, lists or strings. The source stands along the upper edge, the target downwards;
        spaces and line ends are shown as marks. Of a `symrnn.models.seq2seq.translation.Answer` these are
        ``answer.weights, answer.source, answer.tokens``.
    ax
        Where to draw; a new figure, large enough for the tokens, by default.
    bar
        Show the scale of colours, which goes from 0 to the largest weight.

    Raises
    ------
    ValueError
        If the shapes do not fit, or a weight is negative, NaN or infinite.
    """
    a, across, down = _attention(weights, source, target)
    long = max(map(len, across)) > 2
    if ax is None:
        width = 0.27 * len(across) + 0.09 * max(map(len, down)) + (1.6 if bar else 0.8)
        height = 0.27 * len(down) + 0.09 * (max(map(len, across)) if long else 2) + 0.6
        ax = plt.subplots(figsize=(max(width, 3), max(height, 2)), layout="constrained")[1]
    drawn = ax.imshow(a, cmap="Blues", vmin=0, aspect="auto")
    ax.set_xticks(range(len(across)), across, rotation=90 if long else 0, parse_math=False)
    ax.set_yticks(range(len(down)), down, parse_math=False)
    ax.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
    ax.xaxis.set_label_position("top")
    ax.set(xlabel="source", ylabel="target")
    if bar:
        ax.figure.colorbar(drawn, ax=ax, label="attention", pad=0.02)
    return ax


def attention_strip(
    weights: ArrayLike,
    source: Sequence[str],
    target: Sequence[str],
    steps: Sequence[int] | None = None,
) -> list[Axes]:
    """Draw a target as it grows: for each step a panel with the source, coloured by attention.

    On the left of each panel is what is written so far, its newest token in red. There are spaces
    between tokens unless all but the last, often ``<eos>``, are single characters.

    Parameters
    ----------
    weights
        Attention, not negative, shape ``(target, source)``: row k was used to write ``target[k]``.
    source, target
        The tokens, lists or strings; spaces and line ends are shown as marks.
    steps
        Which tokens of the target get a panel. Default: all, or of more than 12 twelve that are
        evenly spread.

    Returns
    -------
    list of Axes
        The panels, in a new figure from top to bottom, all with the same colours: white for 0.

    Raises
    ------
    ValueError
        If the shapes do not fit, a weight is negative, NaN or infinite, or there is no such step.
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
    """Return checked weights, and the tokens of source and target as they are shown."""
    if weights is None:
        raise ValueError("the weights are None: the model that gave the answer has no attention")
    a = np.asarray(weights, dtype=float)
    if a.shape != (len(target), len(source)) or not a.size:
        raise ValueError(
            f"the weights have shape {a.shape}, but must have shape (target, source) = "
            f"{(len(target), len(source))}, the numbers of tokens, and at least one of each: of an "
            "Answer, give weights, source and tokens (its text lacks <eos>)"
        )
    if not (np.isfinite(a).all() and (a >= 0).all()):
        raise ValueError("attention must not be negative, NaN or infinite")
    marks = str.maketrans(" \n", "\u2423\u21b5")
    across, down = ([str(token).translate(marks) for token in side] for side in (source, target))
    return a, across, down
