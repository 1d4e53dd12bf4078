"""Draw a trace: a value over time as a heat map, and a walk from step to step."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.animation import FuncAnimation, PillowWriter
from matplotlib.axes import Axes

from symrnn.explain.shapes import BLUE, COLOURS, GREY, ORANGE, blank, text_at
from symrnn.explain.tracing import Trace, show

MAX_FRAMES = 100


def draw_states(trace: Trace, name: str, *, ax: Axes | None = None) -> Axes:
    """Draw a value over time as a heat map: a row for each number, a column for each step.

    Parameters
    ----------
    trace
        A trace, from `symrnn.explain.trace`.
    name
        Name of the value, for example ``"h"``.
    ax
        Where to draw; by default a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn on, with a colour bar beside them.

    Examples
    --------
    >>> import numpy as np, pytensor, pytensor.tensor as pt
    >>> from symrnn.explain import trace
    >>> x = pt.dmatrix("x")
    >>> s = pytensor.scan(lambda x_t, s: s + x_t, sequences=[x], outputs_info=[pt.zeros(3)],
    ...                   return_updates=False)
    >>> s.name = "s"
    >>> ax = draw_states(trace(s, {x: np.ones((5, 3))}), "s")
    """
    values = np.asarray(trace[name], dtype=float).reshape(len(trace.steps), -1).T
    if ax is None:
        _, ax = plt.subplots(figsize=(8, 3), layout="constrained")
    largest = np.nanmax(np.abs(np.where(np.isfinite(values), values, np.nan)), initial=1e-12)
    first, last = (trace.steps[0], trace.steps[-1]) if trace.steps else (0, 0)
    image = ax.imshow(
        values, aspect="auto", cmap="RdBu_r", vmin=-largest, vmax=largest, interpolation="nearest",
        extent=(first - 0.5, last + 0.5, len(values) - 0.5, -0.5),
    )  # fmt: skip
    ax.set(xlabel="step", ylabel=name, title=f"{name} over time")
    ax.figure.colorbar(image, ax=ax)
    return ax


def animate(trace: Trace, path: str | Path, *, seconds_per_step: float = 1.0) -> Path:
    """Walk through a short trace step by step, with all values, as a GIF or an HTML page.

    Parameters
    ----------
    trace
        A trace of at most 100 steps, from `symrnn.explain.trace`.
    path
        Where to write; the name ends in ``.gif`` or ``.html``.
    seconds_per_step
        How long each step is shown.

    Returns
    -------
    pathlib.Path
        The path of the file.

    Examples
    --------
    >>> import pytensor, pytensor.tensor as pt
    >>> from symrnn.explain import trace
    >>> x = pt.dvector("x")
    >>> s = pytensor.scan(lambda x_t, s: s + x_t, sequences=[x], outputs_info=[pt.zeros(())],
    ...                   return_updates=False)
    >>> animate(trace(s, {x: [3, 1, 4]}), "walk.html")  # doctest: +SKIP
    PosixPath('walk.html')
    """
    path = Path(path)
    if path.suffix not in (".gif", ".html"):
        raise ValueError(f"{path.name} must end in .gif or .html")
    if len(trace.steps) > MAX_FRAMES:
        raise ValueError(
            f"the trace has {len(trace.steps)} steps, but at most {MAX_FRAMES} can be animated: "
            "choose some with trace(..., steps=range(10))"
        )
    names = list(trace.values)
    equations = trace.scan.equations
    height = max(2.6, 1.0 + 0.28 * (len(names) + len(equations)))
    figure, axes = plt.subplots(1, 2, figsize=(10, height), width_ratios=(1.3, 1))
    figure.subplots_adjust(left=0.03, right=0.97, bottom=0.2)

    def frame(k: int) -> None:
        _frame(axes[0], trace, k, names)
        _draw_so_far(axes[1], trace, k)

    try:
        walk = FuncAnimation(
            figure, frame, frames=len(trace.steps),
            interval=1000 * seconds_per_step,
        )  # fmt: skip
        part = path.with_name(f"{path.stem}.part{path.suffix}")
        if path.suffix == ".gif":
            walk.save(
                part,
                writer=PillowWriter(fps=1 / seconds_per_step),  # type: ignore[arg-type]
            )
        else:
            part.write_text(walk.to_jshtml(), encoding="utf-8")
        part.replace(path)
    finally:
        plt.close(figure)
    return path


def _draw_so_far(ax: Axes, trace: Trace, k: int) -> None:
    """The results up to this step as lines, one for each of the first four numbers."""
    ax.clear()
    for r in trace.scan.results:
        values = np.asarray(trace.values.get(r.name, ()))
        if values.dtype.kind not in "biuf" or values.size == 0:
            continue
        numbers = values.reshape(len(trace.steps), -1)[:, :4].astype(float)
        for j in range(numbers.shape[1]):
            text = r.name if numbers.shape[1] == 1 else f"{r.name}, number {j}"
            (line,) = ax.plot(
                trace.steps, numbers[:, j], alpha=0
            )  # so that the limits of the axes fit the whole walk
            colour = line.get_color()
            ax.plot(trace.steps[: k + 1], numbers[: k + 1, j], ".-", color=colour, label=text)
    ax.set_xlabel("step")
    if ax.lines:
        ax.legend(fontsize=8, loc="upper left")


def _frame(ax: Axes, trace: Trace, k: int, names: Sequence[str]) -> None:
    """One frame of the walk: the equations, and all values of this step."""
    ax.clear()
    lines = [*trace.scan.equations, *names]
    blank(ax, 10, len(lines) + 1.6)
    ax.set_title(f"step {trace.steps[k]}", loc="left")
    kinds = {a.name: a.kind for a in trace.scan.arguments}
    fed_back = {r.name for r in trace.scan.results if r.kind == "fed back"}
    y = len(lines) + 0.8
    for line in trace.scan.equations:
        text_at(ax, 0.1, y, line, family="monospace", color=GREY, va="center")
        y -= 1
    y -= 0.4
    for name in names:
        colour = COLOURS.get(kinds.get(name, ""), ORANGE if name in fed_back else BLUE)
        text_at(ax, 0.1, y, name, family="monospace", color=colour, va="center")
        text_at(ax, 3.4, y, show(trace.values[name][k]), family="monospace", va="center")
        y -= 1
