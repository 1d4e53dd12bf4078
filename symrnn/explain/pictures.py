"""Draw scans: the loop, folded and unrolled; states over time; a walk from step to step."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.animation import FuncAnimation, PillowWriter
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from pytensor.graph.basic import Variable

from symrnn.explain.anatomy import Anatomy
from symrnn.explain.description import describe, headline
from symrnn.explain.equations import named_steps
from symrnn.explain.running import results_of
from symrnn.explain.tracing import Trace, chosen_scan, show

BLUE, ORANGE, GREEN, GREY = "#2b6cb0", "#b7500f", "#2f7a4f", "#4a5568"
COLOURS = {"sequence": GREEN, "state": ORANGE, "non-sequence": GREY, "shared": GREY}
N_SHOWN = 3  # steps of the unrolled chain


def draw(
    variables: Variable | Sequence[Variable], scan: int | str = -1, title: str | None = None
) -> Figure:
    """Draw a scan: left the loop with its feedback, right the first steps of the chain it is.

    Sequences come from below, states from the left; what is the same at all steps stands above.

    Parameters
    ----------
    variables
        What `pytensor.scan` returned, or anything computed from it.
    scan
        Which one, if there are several: its number in `describe`'s order, or its name.
    title
        By default what `describe` says in its first line.

    Returns
    -------
    matplotlib.figure.Figure
        Save it with ``figure.savefig("scan.svg")`` or ``.png``.

    Raises
    ------
    ValueError
        If there is no scan behind the variables.
    """
    chosen = chosen_scan(describe(variables).scans, scan)
    equations = [
        part for line in chosen.equations for part in wrap(line, 40, subsequent_indent="    ")
    ]
    height = max(3.6, 1.9 + 0.24 * len(equations))
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(12.5, height), width_ratios=(1, 1.35), layout="constrained"
    )
    _draw_folded(left, chosen, equations)
    _draw_unrolled(right, chosen)
    words = headline(chosen) if title is None else title
    figure.suptitle("\n".join(wrap(words, 110)), fontsize=12, parse_math=False)
    return figure


def _groups(scan: Anatomy) -> tuple[dict[str, list[int]], dict[str, list[int]], list[str]]:
    """Sequences and states with their taps, and names of what is the same at all steps."""
    sequences: dict[str, list[int]] = {}
    states: dict[str, list[int]] = {}
    constants = []
    for a in scan.arguments:
        name = a.name.split("[t")[0]
        if a.kind == "sequence":
            sequences.setdefault(name, []).append(a.tap or 0)
        elif a.kind in ("state", "generator", "gradient"):
            states.setdefault(name, []).append(a.tap or 0)
        elif a.kind in ("shared", "non-sequence"):
            constants.append(a.name)
    return sequences, states, constants


def _blank(ax: Axes, width: float, height: float) -> None:
    ax.set(xlim=(0, width), ylim=(0, height))
    ax.axis("off")


def _box(ax: Axes, x: float, y: float, width: float, height: float, colour: str = BLUE) -> None:
    corner = (x - width / 2, y - height / 2)
    shape = FancyBboxPatch(corner, width, height, boxstyle="round,pad=0,rounding_size=0.15")
    shape.set(facecolor="#f7fafc", edgecolor=colour, linewidth=1.6, zorder=2)
    ax.add_patch(shape)


def _write(ax: Axes, x: float, y: float, text: str, **how: Any) -> None:
    ax.text(x, y, text, parse_math=False, **how)  # a name may have a dollar in it


def _arrow(ax: Axes, tail: Any, head: Any, colour: str, bend: float = 0.0) -> None:
    arrow = FancyArrowPatch(
        tail, head, arrowstyle="-|>", connectionstyle=f"arc3,rad={bend}", shrinkA=0, shrinkB=0,
        mutation_scale=13, linewidth=1.5, color=colour,
    )  # fmt: skip
    ax.add_patch(arrow)


def _spread(n: int, middle: float, width: float) -> Any:
    """Positions of n things side by side."""
    return middle + width * ((np.arange(n) + 0.5) / max(n, 1) - 0.5)


def _draw_folded(ax: Axes, scan: Anatomy, equations: Sequence[str]) -> None:
    """The step as a box with its equations, and what it gives back to itself as loops around it."""
    sequences, states, constants = _groups(scan)
    collected = [r.name for r in scan.results if r.kind == "collected"]
    n_loops = len(states)
    box_height = max(1.6, 0.42 * len(equations) + 0.6)
    bottom, top = 1.6, 1.6 + box_height
    height = top + 1.2 + 0.75 * n_loops
    _blank(ax, 12.5, height)
    ax.set_title("one step", loc="left", fontsize=11, color=GREY)
    middle = (bottom + top) / 2
    _box(ax, 6.0, middle, 7.4, box_height)
    text = "\n".join(equations)
    _write(ax, 2.55, middle, text, family="monospace", fontsize=8.6, va="center", linespacing=1.4)

    below = [
        f"{name}[t{tap:+d}]".replace("+0", "") for name, taps in sequences.items() for tap in taps
    ]
    for x, name in zip(_spread(len(below), 6.0, 7.0), below, strict=True):
        _arrow(ax, (x, 0.65), (x, bottom), GREEN)
        _write(ax, x, 0.3, name, ha="center", va="center", color=GREEN, fontsize=10)
    for k, (name, taps) in enumerate(states.items()):
        y = middle + (k - (n_loops - 1) / 2) * min(0.8, box_height / (n_loops + 1))
        over, side = top + 0.75 + 0.75 * k, 0.35 * k
        out, back = 10.4 + side, 1.6 - side
        ax.plot([9.7, out, out, back, back], [y, y, over, over, y], color=ORANGE, linewidth=1.5)
        _arrow(ax, (back, y), (2.3, y), ORANGE)
        delays = ", ".join(f"{name}[t{tap:+d}]" for tap in taps)
        words = f"{name}[t], at the next step {delays}"
        how = {"ha": "center", "va": "bottom", "color": ORANGE, "fontsize": 10}
        _write(ax, 6.0, over + 0.12, words, **how)
    for k, name in enumerate(collected):
        y = bottom + 0.4 + 0.5 * k
        _arrow(ax, (9.7, y), (11.2, y), BLUE)
        _write(ax, 11.3, y, name, va="center", color=BLUE, fontsize=10)
    if constants:
        names = "\n".join(wrap(", ".join(constants), 60))
        _write(ax, 6.0, top + 0.3, f"the same at all steps: {names}", ha="center", va="center",
                color=GREY, fontsize=9)  # fmt: skip


def _draw_unrolled(ax: Axes, scan: Anatomy) -> None:
    """The first steps one after the other."""
    sequences, states, _ = _groups(scan)
    n_states = len(states)
    deepest = max((-tap for taps in states.values() for tap in taps), default=0)
    height = 4.4 + 0.8 * max(n_states - 1, 0) + 0.5 * len(sequences) + 1.1 * (deepest > 1)
    _blank(ax, 17.0, height)
    ax.set_title("the chain it stands for", loc="left", fontsize=11, color=GREY)
    bottom = 0.6 + 0.5 * len(sequences)
    tall = 1.5 + 0.8 * max(n_states - 1, 0)
    middle = bottom + 0.9 + tall / 2
    places = [4.3 + 4.4 * k for k in range(N_SHOWN)]
    results = [r for r in scan.results if r.kind in ("fed back", "collected")]

    def index(k: int, tap: int, last_tap: int) -> str:
        return f"T{tap - last_tap - k - 1}" if scan.backwards else str(k + tap)

    for k, x in enumerate(places):
        _box(ax, x, middle, 2.2, tall)
        _write(ax, x, middle, f"step {k}", ha="center", va="center", fontsize=10)
        for row, (name, taps) in enumerate(sequences.items()):
            label = ", ".join(f"{name}[{index(k, tap, max(taps))}]" for tap in taps)
            _write(
                ax, x, 0.3 + 0.5 * row, label, ha="center", va="center", color=GREEN, fontsize=9.5
            )
        if sequences:
            _arrow(ax, (x, 0.6 + 0.5 * (len(sequences) - 1)), (x, middle - tall / 2), GREEN)
        names = [r.name.replace("[t]", f"[{k}]") for r in results]
        _arrow(ax, (x, middle + tall / 2), (x, middle + tall / 2 + 0.6), BLUE)
        label = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        _write(
            ax,
            x,
            middle + tall / 2 + 0.75,
            label,
            ha="center",
            va="bottom",
            color=BLUE,
            fontsize=9.5,
        )
    for row, (name, taps) in enumerate(states.items()):
        y = middle + (row - (n_states - 1) / 2) * -0.8
        first = ", ".join(f"{name}[{tap}]" for tap in sorted(taps))
        _write(ax, 1.5, y + 0.14, first, ha="center", va="bottom", color=ORANGE, fontsize=9.5)
        for k, x in enumerate([*places, places[-1] + 4.4] if -1 in taps else []):
            start = places[k - 1] + 1.1 if k else 0.5
            end = x - 1.1 if k < N_SHOWN else start + 1.6
            _arrow(ax, (start, y), (end, y), ORANGE)
            if k:
                how = {"ha": "center", "va": "bottom", "color": ORANGE, "fontsize": 9.5}
                _write(ax, (start + end) / 2, y + 0.14, f"{name}[{k - 1}]", **how)
        for tap in taps:
            if tap < -1:  # past the steps between
                for k in range(N_SHOWN + tap):
                    between = (places[k] + places[k - tap]) / 2
                    _write(ax, between, middle - tall / 2 - 1.0, f"{name}[{k}]", ha="center",
                            color=ORANGE, fontsize=9.5)  # fmt: skip
                    tail = (places[k] + 0.6, middle - tall / 2)
                    _arrow(ax, tail, (places[k - tap] - 0.6, middle - tall / 2), ORANGE, bend=0.35)
    _write(ax, places[-1] + 3.1, middle, "...", fontsize=14, color=ORANGE, va="center")


def draw_states(trace: Trace, name: str, ax: Axes | None = None) -> Axes:
    """Draw a value over time as a heat map: a row for each number, a column for each step.

    Parameters
    ----------
    trace
        From `symrnn.explain.trace`.
    name
        What to draw, for example ``"h"``.
    ax
        Where; by default new axes.

    Returns
    -------
    matplotlib.axes.Axes
        With a colour bar beside it.

    Raises
    ------
    KeyError
        If there is nothing of this name in the trace.
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


def animate(trace: Trace, path: str | Path, seconds_a_step: float = 1.0) -> Path:
    """Walk through a small trace step by step, with all values, as a GIF or a page of HTML.

    Parameters
    ----------
    trace
        From `symrnn.explain.trace`, of a few steps.
    path
        Where to write, ending in ``.gif`` or ``.html``.
    seconds_a_step
        How long each step is shown.

    Returns
    -------
    pathlib.Path
        Where it was written.

    Raises
    ------
    ValueError
        If the path has another ending, or there are more than 100 steps.
    """
    path = Path(path)
    if path.suffix not in (".gif", ".html"):
        raise ValueError(f"{path.name} must end in .gif or .html")
    if len(trace.steps) > 100:
        raise ValueError(f"{len(trace.steps)} steps are too many to watch: trace(..., steps=...)")
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
            interval=1000 * seconds_a_step,
        )  # fmt: skip
        part = path.with_name(f"{path.stem}.part{path.suffix}")
        if path.suffix == ".gif":
            walk.save(
                part,
                writer=PillowWriter(fps=1 / seconds_a_step),  # type: ignore[arg-type]
            )
        else:
            part.write_text(walk.to_jshtml(), encoding="utf-8")
        part.replace(path)
    finally:
        plt.close(figure)
    return path


def _draw_so_far(ax: Axes, trace: Trace, k: int) -> None:
    """The results up to this step as lines, one for each number of small ones."""
    ax.clear()
    for r in trace.scan.results:
        values = np.asarray(trace.values.get(r.name, ()))
        if values.dtype.kind not in "biuf" or values.size == 0:
            continue
        numbers = values.reshape(len(trace.steps), -1)[:, :4].astype(float)
        for j in range(numbers.shape[1]):
            label = r.name if numbers.shape[1] == 1 else f"{r.name}, number {j}"
            (line,) = ax.plot(trace.steps, numbers[:, j], alpha=0)  # the axes hold the whole walk
            colour = line.get_color()
            ax.plot(trace.steps[: k + 1], numbers[: k + 1, j], ".-", color=colour, label=label)
    ax.set_xlabel("step")
    if ax.lines:
        ax.legend(fontsize=8, loc="upper left")


def _frame(ax: Axes, trace: Trace, k: int, names: Sequence[str]) -> None:
    """One picture of the walk: the step's equations, and all values in this step."""
    ax.clear()
    lines = [*trace.scan.equations, *names]
    _blank(ax, 10, len(lines) + 1.6)
    ax.set_title(f"step {trace.steps[k]}", loc="left")
    kinds = {a.name: a.kind for a in trace.scan.arguments}
    fed_back = {r.name for r in trace.scan.results if r.kind == "fed back"}
    y = len(lines) + 0.8
    for line in trace.scan.equations:
        _write(ax, 0.1, y, line, family="monospace", color=GREY, va="center")
        y -= 1
    y -= 0.4
    for name in names:
        colour = COLOURS.get(kinds.get(name, ""), ORANGE if name in fed_back else BLUE)
        _write(ax, 0.1, y, name, family="monospace", color=colour, va="center")
        _write(ax, 3.4, y, show(trace.values[name][k]), family="monospace", va="center")
        y -= 1


def draw_step(variables: Variable | Sequence[Variable], scan: int | str = -1) -> Figure:
    """Draw the graph of a scan's step: its arguments, equations and results, and what uses what.

    Parameters
    ----------
    variables, scan
        As of `draw`.

    Returns
    -------
    matplotlib.figure.Figure
        Arguments on the left, each equation to the right of all that it uses.

    Raises
    ------
    ValueError
        If there is no scan behind the variables.
    """
    chosen = chosen_scan(describe(variables).scans, scan)
    names = {a.inner: a.name for a in chosen.arguments}
    steps = named_steps(list(names), results_of(chosen), names)
    lines = dict(line.split(" = ", 1) for line in chosen.equations)
    known, column, uses = dict(names), dict.fromkeys(names.values(), 0), {}
    for name, v in steps:
        uses[name] = _used(v, known)
        column[name] = 1 + max((column[u] for u in uses[name]), default=0)
        known.setdefault(v, name)
    columns = [[n for n in column if column[n] == k] for k in range(max(column.values()) + 1)]
    texts = {n: n if n not in lines else "\n".join([n, *wrap(f"= {lines[n]}", 26)]) for n in column}
    rows = max(sum(texts[n].count("\n") + 2 for n in names) for names in columns)
    figure, ax = plt.subplots(
        figsize=(2.6 * len(columns), max(2.0, 0.24 * rows + 0.6)), layout="constrained"
    )
    _blank(ax, 10 * len(columns), rows + 0.5)
    kinds = {a.name: a.kind for a in chosen.arguments}
    results = {r.name for r in chosen.results if r.kind == "fed back"}
    place: dict[str, tuple[float, float]] = {}
    for k, group in enumerate(columns):
        free = rows - sum(texts[n].count("\n") + 2 for n in group)
        y = rows - free / (len(group) + 1)
        for n in group:
            height = texts[n].count("\n") + 1
            place[n] = (10 * k + 5, y - height / 2 - 0.25)
            colour = COLOURS.get(kinds.get(n, ""), ORANGE if n in results else BLUE)
            _box(ax, *place[n], 7.8, height + 0.4, colour)
            _write(
                ax, 10 * k + 1.4, place[n][1], texts[n], family="monospace", fontsize=8, va="center"
            )
            y -= height + 1 + free / (len(group) + 1)
    for n, sources in uses.items():
        for source in sources:
            (x1, y1), (x2, y2) = place[source], place[n]
            if column[n] - column[source] == 1:
                _arrow(ax, (x1 + 3.9, y1), (x2 - 3.9, y2), GREY)
            else:  # over the boxes between, so that nobody takes it for an arrow into one of them
                line: dict[str, Any] = {"color": GREY, "linestyle": "--", "alpha": 0.6}
                ax.plot([x1 + 3.9, x2 - 4.6], [y1, y2], zorder=3, **line)
                _arrow(ax, (x2 - 4.6, y2), (x2 - 3.9, y2), GREY)
    return figure


def _used(v: Variable, known: Mapping[Variable, str]) -> list[str]:
    """Names that an expression uses directly."""
    found: dict[str, None] = {}
    stack = [v] if v.owner is None or v in known else list(v.owner.inputs)
    while stack:
        u = stack.pop(0)
        if u in known:
            found.setdefault(known[u])
        elif u.owner is not None:
            stack.extend(u.owner.inputs)
    return list(found)
