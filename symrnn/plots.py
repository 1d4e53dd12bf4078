"""Figures: functions that take arrays, draw on a matplotlib Axes, and return it."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import LogNorm
from matplotlib.ticker import NullFormatter
from numpy.typing import ArrayLike

COLOURS = ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple", "tab:brown")


def loss_curves(losses: Mapping[str, ArrayLike], ax: Axes | None = None, log: bool = True) -> Axes:
    """Draw losses by step, one line for each name.

    Parameters
    ----------
    losses
        For each name the losses, shape ``(steps,)``.
    ax
        Where to draw; a new figure by default.
    log
        Logarithmic loss axis.

    Raises
    ------
    ValueError
        If a curve is not one-dimensional or empty.
    """
    ax = plt.subplots()[1] if ax is None else ax
    for (name, values), colour in zip(losses.items(), _colours(len(losses)), strict=True):
        curve = np.asarray(values, dtype=float)
        if curve.ndim != 1 or curve.size == 0:
            raise ValueError(f"the losses of {name!r} have shape {curve.shape}, not (steps,)")
        ax.plot(np.arange(1, len(curve) + 1), curve, label=name, color=colour)
    if log:
        ax.set_yscale("log")
        _plain_numbers(ax.yaxis)
    ax.set(xlabel="step", ylabel="loss")
    ax.grid(alpha=0.3)
    ax.legend()
    return ax


def loss_bands(
    losses: Mapping[str, ArrayLike],
    ax: Axes | None = None,
    steps: ArrayLike | None = None,
    log: bool = True,
) -> Axes:
    """Draw losses of several runs: for each name the median as a line, and a band of all runs.

    Parameters
    ----------
    losses
        For each name the losses of its runs, shape ``(runs, points)``. What is NaN or infinite is
        left out.
    ax
        Where to draw; a new figure by default.
    steps
        Where the points are, shape ``(points,)``; default: 1, 2, ...
    log
        Logarithmic loss axis.

    Raises
    ------
    ValueError
        If a name's losses are not ``(runs, points)`` or empty, or `steps` has another length.
    """
    ax = plt.subplots()[1] if ax is None else ax
    for (name, values), colour in zip(losses.items(), _colours(len(losses)), strict=True):
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
    if log:
        ax.set_yscale("log")
        _plain_numbers(ax.yaxis)
    ax.set(xlabel="step", ylabel="loss")
    ax.grid(alpha=0.3)
    ax.legend()
    return ax


def cost_surface(
    a: ArrayLike, b: ArrayLike, cost: ArrayLike, ax: Axes | None = None, names: Sequence[str] = "ab"
) -> Axes:
    """Draw the cost over two weights: colour and contours, both on a logarithmic scale.

    Parameters
    ----------
    a, b
        Values of the two weights, shapes ``(n_a,)`` and ``(n_b,)``.
    cost
        Positive, shape ``(n_b, n_a)``: ``cost[j, i]`` belongs to ``a[i]`` and ``b[j]``.
    ax
        Where to draw; a new figure by default.
    names
        Of the two weights, for the axes.

    Raises
    ------
    ValueError
        If the shapes do not fit, or the costs are not all positive and finite, or all equal.
    """
    a, b, z = _grid(a, b, cost)
    if not (np.isfinite(z).all() and (z > 0).all() and z.min() < z.max()):
        raise ValueError(
            "a logarithmic picture needs costs that are positive, finite and not all equal, "
            f"but they go from {z.min():g} to {z.max():g}"
        )
    ax = plt.subplots()[1] if ax is None else ax
    levels = np.geomspace(z.min(), z.max(), 30)
    drawn = ax.contourf(a, b, z, levels=levels, norm=LogNorm(), cmap="viridis", extend="both")
    ax.contour(a, b, z, levels=levels[::2], norm=LogNorm(), colors="white", linewidths=0.4)
    bar = ax.figure.colorbar(drawn, ax=ax, label="cost", pad=0.02)
    first, last = np.ceil(np.log10(z.min())), np.floor(np.log10(z.max()))
    bar.set_ticks([10.0**power for power in np.arange(first, last + 1)])
    _plain_numbers(bar.ax.yaxis)
    ax.set(xlabel=names[0], ylabel=names[1])
    return ax


def gradient_field(
    a: ArrayLike,
    b: ArrayLike,
    down_a: ArrayLike,
    down_b: ArrayLike,
    ax: Axes | None = None,
    names: Sequence[str] = "ab",
) -> Axes:
    """Draw arrows downhill, ``-gradient``: equally long, coloured by the gradient's norm.

    Parameters
    ----------
    a, b
        Values of the two weights, shapes ``(n_a,)`` and ``(n_b,)``.
    down_a, down_b
        The negative gradient's two parts, each of shape ``(n_b, n_a)``.
    ax
        Where to draw; a new figure by default.
    names
        Of the two weights, for the axes.

    Raises
    ------
    ValueError
        If the shapes do not fit, or the gradient is not finite, or zero everywhere.
    """
    ax = plt.subplots()[1] if ax is None else ax
    a, b, u = _grid(a, b, down_a)
    _, _, v = _grid(a, b, down_b)
    norm = np.hypot(u, v)
    if not np.isfinite(norm).all() or not norm.any():
        raise ValueError("the gradient is NaN or infinite somewhere, or zero everywhere")
    norm[norm == 0] = np.nan  # no arrow where it is flat
    drawn = ax.quiver(
        a, b, u / norm, v / norm, norm, norm=LogNorm(), cmap="viridis", pivot="mid",
        angles="xy", width=0.004,
    )  # fmt: skip
    bar = ax.figure.colorbar(drawn, ax=ax, label="norm of the gradient", pad=0.02)
    _plain_numbers(bar.ax.yaxis)
    ax.set(xlabel=names[0], ylabel=names[1])
    return ax


def paths(weights: Mapping[str, ArrayLike], ax: Axes) -> Axes:
    """Draw the way that weights took: a line, a dot at its start, a cross at its end.

    Parameters
    ----------
    weights
        For each name the two weights after every step, shape ``(steps, 2)``.
    ax
        Where to draw, for example on a `cost_surface`.

    Raises
    ------
    ValueError
        If a path does not have its shape.
    """
    for (name, values), colour in zip(weights.items(), _colours(len(weights)), strict=True):
        path = np.asarray(values, dtype=float)
        if path.ndim != 2 or path.shape[1] != 2 or len(path) == 0:
            raise ValueError(f"the path {name!r} has shape {path.shape}, not (steps, 2)")
        ax.plot(*path.T, color="white", linewidth=3.5, alpha=0.8)
        ax.plot(*path.T, color=colour, linewidth=1.8, label=name)
        ax.plot(*path[0], "o", color=colour, markeredgecolor="white", markersize=7)
        ax.plot(*path[-1], "X", color=colour, markeredgecolor="white", markersize=9)
    ax.legend(loc="lower right")
    return ax


def _colours(n: int) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(n)]


def _plain_numbers(axis: Axis) -> None:
    """Write the numbers of a logarithmic axis as 0.01, 100, 1e+06, at whole powers of ten."""
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def _grid(a: ArrayLike, b: ArrayLike, values: ArrayLike) -> tuple[Any, Any, Any]:
    a, b, z = np.asarray(a, float), np.asarray(b, float), np.asarray(values, float)
    if a.ndim != 1 or b.ndim != 1 or z.shape != (len(b), len(a)):
        raise ValueError(
            f"the grid has {a.shape} by {b.shape} values, so what is drawn must have shape "
            f"({b.size}, {a.size}), not {z.shape}"
        )
    return a, b, z
