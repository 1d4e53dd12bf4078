"""A binary tree, such as that of an expression or of a sentence."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray


def tree(
    labels: Sequence[str],
    children: ArrayLike,
    *,
    ax: Axes | None = None,
    colours: Sequence[str] | None = None,
) -> Axes:
    """Draw a binary tree, its root at the top.

    Parameters
    ----------
    labels
        Labels of the nodes in post-order: children before their parents, the root last.
    children
        For each node the positions of its left and right child, counted from 1, shape
        ``(nodes, 2)``; 0 and 0 for a leaf: as `symrnn.tasks.expressions.schedule` makes it.
    ax
        Where to draw; by default a new figure.
    colours
        Colours of the labels; by default black.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn on.

    Examples
    --------
    The expression ``(1 + 2) * 3``.

    >>> ax = tree(["1", "2", "+", "3", "*"], [[0, 0], [0, 0], [1, 2], [0, 0], [3, 4]])
    """
    pairs, n = np.asarray(children), len(labels)
    _check_tree(pairs, n)
    if colours is not None and len(colours) != n:
        raise ValueError(f"there are {n} labels and {len(colours)} colours")
    x, y = _positions(pairs)
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


def _check_tree(pairs: NDArray[np.integer], n: int) -> None:
    """Raise ValueError if these are not the children of one binary tree with `n` nodes."""
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


def _positions(pairs: NDArray[np.integer]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return where the nodes stand: in order from left to right, each level below the last."""
    n = len(pairs)
    x, y, waiting, n_placed = np.zeros(n), np.zeros(n), [(n - 1, False)], 0
    while waiting:  # left tree, the node, right tree
        k, left_is_done = waiting.pop()
        left, right = (pairs[k] - 1).tolist()
        if left >= 0 and not left_is_done:
            y[[left, right]] = y[k] - 1
            waiting += [(k, True), (left, False)]
            continue
        x[k], n_placed = n_placed, n_placed + 1
        if left >= 0:
            waiting.append((right, False))
    return x, y
