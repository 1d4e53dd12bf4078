"""Losses, cost surfaces and the paths on them, and results of a search."""

from collections.abc import Mapping, Sequence
from numbers import Real
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
    if log and any(np.isfinite(np.asarray(v, dtype=float)).any() for v in losses.values()):
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


def search_results(
    values: Mapping[str, Sequence[Any]],
    metric: ArrayLike,
    name: str = "loss",
    lowest: bool = True,
    axes: Sequence[Axes] | None = None,
) -> list[Axes]:
    """Draw what a search found: for each hyper-parameter a panel with the metric of every trial.

    A star marks the best trial in each panel, crosses at the upper edge those without a finite
    metric. An axis whose numbers are positive and span a factor of 10 or more is logarithmic; one
    with up to five different numbers that do not has its ticks there, if there is room.

    Parameters
    ----------
    values
        For each hyper-parameter its value in every trial, numbers or anything else.
    metric
        Of every trial, shape ``(trials,)``; NaN for one that failed.
    name
        Of the metric.
    lowest
        Whether the lowest value is the best.
    axes
        Where to draw, one for each hyper-parameter; a new figure by default.

    Raises
    ------
    ValueError
        If the numbers of values, metrics or axes do not fit, or no metric is finite.
    """
    y = np.asarray(metric, dtype=float)
    fit = np.isfinite(y)
    if y.ndim != 1 or not values or any(len(column) != len(y) for column in values.values()):
        lengths = {key: len(column) for key, column in values.items()}
        raise ValueError(f"the metric has shape {y.shape}, and there are {lengths} values of each")
    if not fit.any():
        raise ValueError(f"none of {len(y)} trials has a finite {name}")
    if axes is None:
        n_rows, n_columns = -(-len(values) // 4), min(4, len(values))
        figure, grid = plt.subplots(
            n_rows, n_columns, figsize=(3 * n_columns, 2.8 * n_rows), squeeze=False,
            sharey=True, layout="constrained",
        )  # fmt: skip
        axes = list(grid.flat[: len(values)])
        for unused in grid.flat[len(values) :]:
            figure.delaxes(unused)
    if len(axes) != len(values):
        raise ValueError(f"there are {len(axes)} axes for {len(values)} hyper-parameters: one each")
    best = np.flatnonzero(fit)[(np.argmin if lowest else np.argmax)(y[fit])]
    for k, (ax, (key, column)) in enumerate(zip(axes, values.items(), strict=True)):
        x = _positions(column, ax)
        ax.plot(x[fit], y[fit], "o", color=COLOURS[0], alpha=0.6, markeredgewidth=0)
        ax.plot(
            x[~fit], np.full(sum(~fit), 0.96), "x", color=COLOURS[3],
            transform=ax.get_xaxis_transform(),
        )  # fmt: skip
        ax.plot(
            x[best], y[best], "*", color=COLOURS[1], markeredgecolor="k", markersize=13, zorder=3
        )
        if _spans_decades(y[fit]):
            ax.set_yscale("log")
            _plain_numbers(ax.yaxis)
        ax.set(xlabel=key, ylabel="" if k % 4 else name)
        ax.grid(alpha=0.3)
    return list(axes)


def _positions(column: Sequence[Any], ax: Axes) -> Any:
    """Return where on the x axis the values stand, and prepare that axis."""
    if all(isinstance(v, Real) and not isinstance(v, bool) for v in column):
        x = np.asarray(column, dtype=float)
        few = np.unique(x[np.isfinite(x)])
        if _spans_decades(x):
            ax.set_xscale("log")
            _plain_numbers(ax.xaxis)
        elif 0 < len(few) <= 5 and np.all(10 * np.diff(few) >= np.ptp(few)):  # not too close
            ax.set_xticks(few, [f"{v:g}" for v in few])
        return x
    labels = list(dict.fromkeys(map(str, column)))
    ax.set_xticks(range(len(labels)), labels)
    ax.set_xlim(-0.5, len(labels) - 0.5)
    return np.array([labels.index(str(v)) for v in column])


def _spans_decades(x: Any) -> bool:
    return bool(np.min(x) > 0 and np.max(x) >= 10 * np.min(x))


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
