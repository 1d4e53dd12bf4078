"""What is inside some models: a latent plane, a memory, a tree."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike


def latent_plane(
    z: ArrayLike,
    values: ArrayLike,
    images: ArrayLike,
    extent: float = 2.5,
    label: str = "",
    axes: Sequence[Axes] | None = None,
    limits: tuple[float, float] = (0.0, 1.0),
) -> list[Axes]:
    """Draw a latent plane twice: where samples lie, and what is decoded from its points.

    Parameters
    ----------
    z
        Where the samples lie, shape ``(samples, 2)``.
    values
        What the points are coloured by, shape ``(samples,)``.
    images
        What is decoded at the points of a square grid, shape ``(n, n, height, width)``;
        ``images[i, j]`` belongs to ``(z_1, z_2) = (g[j], g[i])`` with
        ``g = latent_grid(n, extent)``. So z_2 grows upwards. Vectors are images of one row,
        ``decoded.reshape(n, n, 1, -1)``.
    extent
        The grid reaches from -extent to extent, and the plane is drawn half an image further, to
        ``extent (1 + 1 / (n - 1))`` on each side.
    label
        What the colours mean.
    axes
        Two Axes to draw on; a new figure by default.
    limits
        The values that are drawn white and black; what is beyond them is cut.

    Returns
    -------
    list of Axes
        That with the points, and that with the images.

    Raises
    ------
    ValueError
        If the shapes do not fit, or `axes` are not two.
    """
    z, values, images = (np.asarray(a, float) for a in (z, values, images))
    fit = z.ndim == 2 and z.shape[1] == 2 and values.shape == z.shape[:1]
    if not fit or images.ndim != 4 or not images.size or images.shape[0] != images.shape[1]:
        raise ValueError(
            f"z has shape {z.shape}, values {values.shape} and images {images.shape}, but they "
            "must have (samples, 2), (samples,) and (n, n, height, width), a square grid"
        )
    if axes is not None and (isinstance(axes, Axes) or len(axes) != 2):
        raise ValueError(f"axes is {axes!r}, but must be two: of the points and of the images")
    if axes is None:
        axes = list(plt.subplots(1, 2, figsize=(11, 5), layout="constrained")[1])
    points, grid = axes
    drawn = points.scatter(z[:, 0], z[:, 1], c=values, cmap="viridis", s=10)
    points.figure.colorbar(drawn, ax=points, label=label, pad=0.02)
    n, _, height, width = images.shape
    # the first row of images is the lowest; lines between them
    mosaic = images[::-1].transpose(0, 2, 1, 3).reshape(n * height, n * width)
    half = extent * (1 + 1 / (n - 1)) if n > 1 else extent
    low, high = limits
    grid.imshow(mosaic, cmap="Greys", vmin=low, vmax=high, extent=(-half, half, -half, half))
    for edge in np.linspace(-half, half, n + 1)[1:-1]:
        grid.axhline(edge, color="#cfd8e3", linewidth=1)
        grid.axvline(edge, color="#cfd8e3", linewidth=1)
    for ax in axes:
        ax.set(
            xlabel="$z_1$", ylabel="$z_2$", xlim=(-half, half), ylim=(-half, half), aspect="equal"
        )
    return [points, grid]


def latent_grid(n: int, extent: float = 2.5) -> Any:
    """Return the points that `latent_plane` shows, n in each direction, shape ``(n,)``."""
    return np.linspace(-extent, extent, n)


def memory_use(
    x: ArrayLike, t: ArrayLike, p: ArrayLike, write: ArrayLike, read: ArrayLike
) -> list[Axes]:
    """Draw what a net with a memory reads and writes, of one sequence, step by step.

    Parameters
    ----------
    x
        Input, shape ``(time, n_in)``.
    t
        The answer that is due in the last steps, bits, shape ``(steps, n_out)``.
    p
        The net's probabilities of ones, shape ``(time, n_out)``; those before the answer are not
        shown.
    write, read
        Where it writes and reads, weightings of shape ``(time, n_slots)``.

    Returns
    -------
    list of Axes
        Five panels of a new figure, with time from left to right: input, answer, what the net says
        (a red cross where a bit is wrong, pale blue where no answer is due), and where it writes
        and reads.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    x, t, p, write, read = (np.asarray(a, dtype=float) for a in (x, t, p, write, read))
    shapes = [a.shape for a in (x, t, p, write, read)]
    if (
        any(len(shape) != 2 for shape in shapes)
        or not len(x) == len(p) == len(write) == len(read) >= len(t) > 0
        or t.shape[1] != p.shape[1]
        or write.shape != read.shape
    ):
        raise ValueError(
            f"x, t, p, write and read have shapes {shapes}, but must have shapes (time, n_in), "
            "(steps, n_out), (time, n_out), (time, n_slots) and (time, n_slots): one sequence"
        )
    before = np.full((len(x) - len(t), t.shape[1]), np.nan)
    target, said = np.concatenate([before, t]), np.concatenate([before, p[-len(t) :]])
    panels = {"input": x, "answer": target, "said": said, "written": write, "read": read}
    heights = [a.shape[1] ** 0.6 + 1 for a in panels.values()]
    _, axes = plt.subplots(
        5, 1, figsize=(max(5, 0.11 * len(x) + 1.5), 0.2 * sum(heights) + 1), sharex=True,
        gridspec_kw={"height_ratios": heights}, layout="constrained",
    )  # fmt: skip
    for ax, (name, values) in zip(axes, panels.items(), strict=True):
        name_of_map = "Blues" if name in ("written", "read") else "Greys"
        colours = plt.get_cmap(name_of_map).with_extremes(bad="#dbe4f0")  # no answer is due yet
        ax.imshow(values.T, cmap=colours, vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        ax.set(yticks=[], ylabel=name)
    for ax in axes[3:]:
        ax.set(ylabel=f"slot\n{ax.get_ylabel()}", yticks=[0, write.shape[1] - 1])
    step, bit = np.nonzero((said > 0.5) != (target > 0.5))
    axes[2].plot(step, bit, "x", color="tab:red", markersize=4)
    axes[-1].set(xlabel="step")
    return list(axes)


def tree(
    labels: Sequence[str],
    children: ArrayLike,
    ax: Axes | None = None,
    colours: Sequence[str] | None = None,
) -> Axes:
    """Draw a tree, its root at the top.

    Parameters
    ----------
    labels
        What is written at each node, in post-order: children before their parents, the root last.
    children
        For each node the places of its left and right child, counted from 1, shape ``(nodes, 2)``;
        0 and 0 for a leaf: as `symrnn.tasks.expressions.schedule` makes it.
    ax
        Where to draw; a new figure by default.
    colours
        Of the labels; default: black.

    Raises
    ------
    ValueError
        If the shapes do not fit, or it is no such tree: a node with one child, a child that does
        not come before its parent, or a node that is nobody's child or that of two.
    """
    pairs, n = np.asarray(children), len(labels)
    if pairs.shape != (n, 2) or n == 0 or pairs.dtype.kind not in "iu":
        raise ValueError(
            f"there are {n} labels, so the children must be integers of shape ({n}, 2), not "
            f"{pairs.dtype} of shape {pairs.shape}"
        )
    if (pairs > np.arange(n)[:, None]).any() or (pairs < 0).any():
        raise ValueError("each child must come before its parent, and be counted from 1")
    inner = (pairs > 0).all(axis=1)
    if sorted(pairs[inner].ravel().tolist()) != [*range(1, n)] or pairs[~inner].any():
        raise ValueError(
            "each node must have two children or none (0 and 0), and each but the last, the root, "
            "must be the child of one: of a schedule of several trees draw one, "
            "children[: roots[k], k]"
        )
    if colours is not None and len(colours) != n:
        raise ValueError(f"there are {n} labels and {len(colours)} colours")
    x, y, waiting, n_placed = np.zeros(n), np.zeros(n), [(n - 1, False)], 0
    while waiting:  # left tree, the node, right tree: each gets the next place from left to right
        k, left_is_done = waiting.pop()
        left, right = (pairs[k] - 1).tolist()
        if left >= 0 and not left_is_done:
            y[[left, right]] = y[k] - 1
            waiting += [(k, True), (left, False)]
            continue
        x[k], n_placed = n_placed, n_placed + 1
        if left >= 0:
            waiting.append((right, False))
    if ax is None:
        size = max(3, 0.55 * n + 0.5), max(2, 0.7 * (1 - y.min()))
        ax = plt.subplots(figsize=size, layout="constrained")[1]
    for k, both in enumerate(pairs - 1):
        for child in both[both >= 0]:
            ax.plot(x[[k, child]], y[[k, child]], color="0.7", zorder=1)
    for k, label in enumerate(labels):
        colour = "black" if colours is None else colours[k]
        box = {"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": "0.7"}
        ax.text(x[k], y[k], label, color=colour, ha="center", va="center", bbox=box, zorder=2)
    ax.set(xlim=(-0.7, n - 0.3), ylim=(y.min() - 0.5, 0.5))
    ax.axis("off")
    return ax
