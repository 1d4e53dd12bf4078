"""What a search found: the metric of all trials over each hyperparameter."""

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from symrnn.plots.style import COLOURS, plain_numbers, spans_decades


def search_results(
    values: Mapping[str, Sequence[Any]],
    metric: ArrayLike,
    *,
    name: str = "loss",
    lowest: bool = True,
    axes: Sequence[Axes] | None = None,
) -> list[Axes]:
    """Draw the metric of every trial of a search, in one panel for each hyperparameter.

    A star marks the best trial in each panel; crosses at the upper edge are trials without a finite
    metric. An axis is logarithmic if its numbers are positive and span a factor of 10 or more.
    Otherwise, up to five different numbers become the ticks of their axis if there is room.

    Parameters
    ----------
    values
        For each hyperparameter its value in every trial, numbers or anything else.
    metric
        The metric of every trial, shape ``(trials,)``; NaN if the trial failed.
    name
        Name of the metric.
    lowest
        Whether the lowest value is the best.
    axes
        Where to draw, one for each hyperparameter; by default a new figure.

    Returns
    -------
    list of matplotlib.axes.Axes
        The panels, in the order of `values`.

    Examples
    --------
    >>> trials = {"learning_rate": [0.1, 0.01, 0.001], "cell": ["LSTM", "GRU", "LSTM"]}
    >>> left, right = search_results(trials, [2.5, 1.2, float("nan")])
    >>> left.get_xscale(), right.get_xscale()
    ('log', 'linear')
    """
    y = np.asarray(metric, dtype=float)
    finite = np.isfinite(y)
    if y.ndim != 1 or not values or any(len(column) != len(y) for column in values.values()):
        lengths = {key: len(column) for key, column in values.items()}
        raise ValueError(
            f"the metric has shape {y.shape}, but must have one number for each trial; the "
            f"hyperparameters have {lengths} values"
        )
    if not finite.any():
        raise ValueError(f"none of {len(y)} trials has a finite {name}")
    if axes is None:
        axes = _new_panels(len(values))
    if len(axes) != len(values):
        raise ValueError(f"there are {len(axes)} axes for {len(values)} hyperparameters: one each")
    best = np.flatnonzero(finite)[(np.argmin if lowest else np.argmax)(y[finite])]
    for k, (ax, (key, column)) in enumerate(zip(axes, values.items(), strict=True)):
        x = _positions(column, ax)
        ax.plot(x[finite], y[finite], "o", color=COLOURS[0], alpha=0.6, markeredgewidth=0)
        ax.plot(
            x[~finite], np.full(sum(~finite), 0.96), "x", color=COLOURS[3],
            transform=ax.get_xaxis_transform(),
        )  # fmt: skip
        ax.plot(
            x[best], y[best], "*", color=COLOURS[1], markeredgecolor="k", markersize=13, zorder=3
        )
        if spans_decades(y[finite]):
            ax.set_yscale("log")
            plain_numbers(ax.yaxis)
        ax.set(xlabel=key, ylabel="" if k % 4 else name)
        ax.grid(alpha=0.3)
    return list(axes)


def _new_panels(n: int) -> list[Axes]:
    """Return `n` panels of a new figure, four in a row."""
    n_rows, n_columns = -(-n // 4), min(4, n)
    figure, grid = plt.subplots(
        n_rows, n_columns, figsize=(3 * n_columns, 2.8 * n_rows), squeeze=False,
        sharey=True, layout="constrained",
    )  # fmt: skip
    for unused in grid.flat[n:]:
        figure.delaxes(unused)
    return list(grid.flat[:n])


def _positions(column: Sequence[Any], ax: Axes) -> Any:
    """Return the positions of the values on the x axis, and prepare that axis."""
    if all(isinstance(v, Real) and not isinstance(v, bool) for v in column):
        x = np.asarray(column, dtype=float)
        few = np.unique(x[np.isfinite(x)])
        if spans_decades(x):
            ax.set_xscale("log")
            plain_numbers(ax.xaxis)
        elif 0 < len(few) <= 5 and np.all(10 * np.diff(few) >= np.ptp(few)):  # not too close
            ax.set_xticks(few, [f"{v:g}" for v in few])
        return x
    labels = list(dict.fromkeys(map(str, column)))
    ax.set_xticks(range(len(labels)), labels)
    ax.set_xlim(-0.5, len(labels) - 0.5)
    return np.array([labels.index(str(v)) for v in column])
