"""The cost over two weights: its surface, its gradient, and the paths that training takes."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from numpy.typing import ArrayLike

from symrnn.plots.style import line_colours, plain_numbers


def cost_surface(
    a: ArrayLike,
    b: ArrayLike,
    cost: ArrayLike,
    *,
    ax: Axes | None = None,
    names: Sequence[str] = "ab",
) -> Axes:
    """Draw the cost over two weights: colour and contours, both on a logarithmic scale.

    Parameters
    ----------
    a, b
        Values of the two weights, shapes ``(n_a,)`` and ``(n_b,)``.
    cost
        Positive costs, shape ``(n_b, n_a)``: ``cost[j, i]`` belongs to ``a[i]`` and ``b[j]``.
    ax
        Where to draw; by default a new figure.
    names
        Names of the two weights, for the labels of the axes.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn on.

    Examples
    --------
    >>> a, b = np.linspace(-1, 1, 21), np.linspace(0, 2, 31)
    >>> ax = cost_surface(a, b, a**2 + (b[:, None] - 1) ** 2 + 0.1, names=("w_x", "w_h"))
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('w_x', 'w_h')
    """
    a, b, z = _grid(a, b, cost)
    if not (np.isfinite(z).all() and (z > 0).all() and z.min() < z.max()):
        raise ValueError(
            "a logarithmic scale needs costs that are positive, finite and not all equal, "
            f"but they go from {z.min():g} to {z.max():g}"
        )
    ax = plt.subplots()[1] if ax is None else ax
    levels = np.geomspace(z.min(), z.max(), 30)
    drawn = ax.contourf(a, b, z, levels=levels, norm=LogNorm(), cmap="viridis", extend="both")
    ax.contour(a, b, z, levels=levels[::2], norm=LogNorm(), colors="white", linewidths=0.4)
    bar = ax.figure.colorbar(drawn, ax=ax, label="cost", pad=0.02)
    first, last = np.ceil(np.log10(z.min())), np.floor(np.log10(z.max()))
    bar.set_ticks([10.0**power for power in np.arange(first, last + 1)])
    plain_numbers(bar.ax.yaxis)
    ax.set(xlabel=names[0], ylabel=names[1])
    return ax


def gradient_field(
    a: ArrayLike,
    b: ArrayLike,
    down_a: ArrayLike,
    down_b: ArrayLike,
    *,
    ax: Axes | None = None,
    names: Sequence[str] = "ab",
) -> Axes:
    """Draw the direction of the negative gradient as arrows, and its norm as their colour.

    Parameters
    ----------
    a, b
        Values of the two weights, shapes ``(n_a,)`` and ``(n_b,)``.
    down_a, down_b
        The two components of the negative gradient, each of shape ``(n_b, n_a)``.
    ax
        Where to draw; by default a new figure.
    names
        Names of the two weights, for the labels of the axes.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn on. All arrows have the same length; there is none where the gradient is 0.

    Examples
    --------
    >>> a, b = np.linspace(-1, 1, 9), np.linspace(-1, 1, 9)
    >>> d_a, d_b = np.meshgrid(2 * a, 2 * b)  # of the cost a^2 + b^2
    >>> ax = gradient_field(a, b, -d_a, -d_b)
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
    plain_numbers(bar.ax.yaxis)
    ax.set(xlabel=names[0], ylabel=names[1])
    return ax


def paths(weights: Mapping[str, ArrayLike], *, ax: Axes) -> Axes:
    """Draw the paths of two weights during training: a dot at the start, a cross at the end.

    Parameters
    ----------
    weights
        For each name the two weights after every step, shape ``(steps, 2)``.
    ax
        Where to draw, for example on a `cost_surface`.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn on.

    Examples
    --------
    >>> a, b = np.linspace(-1, 1, 21), np.linspace(-1, 1, 21)
    >>> ax = cost_surface(a, b, a**2 + b[:, None] ** 2 + 0.1)
    >>> ax = paths({"SGD": [(-1.0, 0.5), (-0.5, 0.2), (-0.2, 0.1)]}, ax=ax)
    """
    for (name, values), colour in zip(weights.items(), line_colours(len(weights)), strict=True):
        path = np.asarray(values, dtype=float)
        if path.ndim != 2 or path.shape[1] != 2 or len(path) == 0:
            raise ValueError(f"the path {name!r} has shape {path.shape}, not (steps, 2)")
        ax.plot(*path.T, color="white", linewidth=3.5, alpha=0.8)
        ax.plot(*path.T, color=colour, linewidth=1.8, label=name)
        ax.plot(*path[0], "o", color=colour, markeredgecolor="white", markersize=7)
        ax.plot(*path[-1], "X", color=colour, markeredgecolor="white", markersize=9)
    ax.legend(loc="lower right")
    return ax


def _grid(a: ArrayLike, b: ArrayLike, values: ArrayLike) -> tuple[Any, Any, Any]:
    """Return all three as arrays, whose shapes are checked."""
    a, b, z = np.asarray(a, float), np.asarray(b, float), np.asarray(values, float)
    if a.ndim != 1 or b.ndim != 1 or z.shape != (len(b), len(a)):
        raise ValueError(
            f"the weights have shapes {a.shape} and {b.shape}, so what is drawn over them must "
            f"have shape ({b.size}, {a.size}), not {z.shape}"
        )
    return a, b, z
