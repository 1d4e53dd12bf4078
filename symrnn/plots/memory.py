"""How a net with an external memory, such as a neural Turing machine, reads and writes it."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike


def memory_use(
    x: ArrayLike, t: ArrayLike, p: ArrayLike, write: ArrayLike, read: ArrayLike
) -> list[Axes]:
    """Draw input, target, prediction, and the slots that are written and read, of one sequence.

    Parameters
    ----------
    x
        Input, shape ``(time, n_in)``.
    t
        Target bits of the last steps, shape ``(steps, n_out)``.
    p
        Predicted probabilities of ones, shape ``(time, n_out)``; those of steps without a target
        are not shown.
    write, read
        Weights with which each slot is written and read, shape ``(time, n_slots)``.

    Returns
    -------
    list of matplotlib.axes.Axes
        Five panels of a new figure, with time from left to right. In the third one, a red cross
        marks a wrong bit; steps without a target are pale blue.

    Examples
    --------
    Two bits are copied after a delay of one step.

    >>> x, t = np.array([[1, 0], [0, 0], [0, 0]]), np.array([[1, 0]])
    >>> p = np.array([[0.5, 0.5], [0.5, 0.5], [0.9, 0.2]])
    >>> write, read = np.eye(3), np.eye(3)[[2, 1, 0]]
    >>> axes = memory_use(x, t, p, write, read)
    >>> [ax.get_ylabel() for ax in axes[:3]]
    ['input', 'target', 'prediction']
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
    target, prediction = np.concatenate([before, t]), np.concatenate([before, p[-len(t) :]])
    panels = {
        "input": x, "target": target, "prediction": prediction, "written": write, "read": read,
    }  # fmt: skip
    heights = [a.shape[1] ** 0.6 + 1 for a in panels.values()]
    _, axes = plt.subplots(
        5, 1, figsize=(max(5, 0.11 * len(x) + 1.5), 0.2 * sum(heights) + 1), sharex=True,
        gridspec_kw={"height_ratios": heights}, layout="constrained",
    )  # fmt: skip
    for ax, (name, values) in zip(axes, panels.items(), strict=True):
        name_of_map = "Blues" if name in ("written", "read") else "Greys"
        colours = plt.get_cmap(name_of_map).with_extremes(bad="#dbe4f0")  # steps without a target
        ax.imshow(values.T, cmap=colours, vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        ax.set(yticks=[], ylabel=name)
    for ax in axes[3:]:
        ax.set(ylabel=f"slot\n{ax.get_ylabel()}", yticks=[0, write.shape[1] - 1])
    step, bit = np.nonzero((prediction > 0.5) != (target > 0.5))
    axes[2].plot(step, bit, "x", color="tab:red", markersize=4)
    axes[-1].set(xlabel="step")
    return list(axes)
