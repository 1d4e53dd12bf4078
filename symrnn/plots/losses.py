"""Losses by training step: one run, or the median and the range of several runs."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from symrnn.plots.style import line_colours, plain_numbers


def loss_curves(
    losses: Mapping[str, ArrayLike], *, ax: Axes | None = None, log: bool = True
) -> Axes:
    """Draw losses by step, one line for each name.

    Parameters
    ----------
    losses
        For each name the losses, shape ``(steps,)``. Steps are counted from 1.
    ax
        Where to draw; by default a new figure.
    log
        Make the axis of the loss logarithmic.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn on; ``ax.figure.savefig("losses.svg")`` saves the figure.

    Examples
    --------
    >>> ax = loss_curves({"SGD": [3.0, 2.0, 1.5], "Adam": [3.0, 1.0, 0.5]})
    >>> [line.get_label() for line in ax.lines]
    ['SGD', 'Adam']
    """
    ax = plt.subplots()[1] if ax is None else ax
    for (name, values), colour in zip(losses.items(), line_colours(len(losses)), strict=True):
        curve = np.asarray(values, dtype=float)
        if curve.ndim != 1 or curve.size == 0:
            raise ValueError(f"the losses of {name!r} have shape {curve.shape}, not (steps,)")
        ax.plot(np.arange(1, len(curve) + 1), curve, label=name, color=colour)
    return _finished(ax, log)


def loss_bands(
    losses: Mapping[str, ArrayLike],
    *,
    ax: Axes | None = None,
    steps: ArrayLike | None = None,
    log: bool = True,
) -> Axes:
    """Draw the losses of several runs: for each name their median, and their range as a band.

    Parameters
    ----------
    losses
        For each name the losses of its runs, shape ``(runs, points)``. Values that are NaN or
        infinite are omitted.
    ax
        Where to draw; by default a new figure.
    steps
        Steps at which the losses were measured, shape ``(points,)``; by default 1, 2, ...
    log
        Make the axis of the loss logarithmic.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn on.

    Examples
    --------
    Two runs of an LSTM, measured after 100 and 200 steps.

    >>> ax = loss_bands({"LSTM": [[3.0, 1.0], [2.0, 1.5]]}, steps=[100, 200])
    >>> ax.lines[0].get_ydata().tolist()
    [2.5, 1.25]
    """
    ax = plt.subplots()[1] if ax is None else ax
    for (name, values), colour in zip(losses.items(), line_colours(len(losses)), strict=True):
        runs = np.ma.masked_invalid(np.asarray(values, dtype=float))
        if runs.ndim != 2 or runs.size == 0:
            raise ValueError(f"the losses of {name!r} have shape {runs.shape}, not (runs, points)")
        at = np.arange(1, runs.shape[1] + 1) if steps is None else np.asarray(steps)
        if at.shape != runs.shape[1:]:
            raise ValueError(
                f"there are {runs.shape[1]} points of {name!r}, but steps has shape {at.shape}"
            )
        median = np.ma.median(runs, axis=0)  # type: ignore[no-untyped-call]
        ax.plot(at, median, label=name, color=colour)
        ax.fill_between(at, runs.min(0), runs.max(0), color=colour, alpha=0.15, linewidth=0)
    finite = any(np.isfinite(np.asarray(v, dtype=float)).any() for v in losses.values())
    return _finished(ax, log and finite)


def _finished(ax: Axes, log: bool) -> Axes:
    """Add what both figures have: scale, labels, grid and legend."""
    if log:
        ax.set_yscale("log")
        plain_numbers(ax.yaxis)
    ax.set(xlabel="step", ylabel="loss")
    ax.grid(alpha=0.3)
    ax.legend()
    return ax
