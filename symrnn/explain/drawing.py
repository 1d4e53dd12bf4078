"""Draw a scan: the loop with its feedback, and the first steps of the chain that it is."""

from collections.abc import Sequence
from textwrap import wrap
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pytensor.graph.basic import Variable

from symrnn.explain.anatomy import Anatomy
from symrnn.explain.description import describe, headline
from symrnn.explain.dissection import chosen_scan
from symrnn.explain.shapes import BLUE, GREEN, GREY, ORANGE, arrow, blank, box, text_at

N_SHOWN = 3  # steps of the unrolled chain


def draw(
    variables: Variable | Sequence[Variable], *, scan: int | str = -1, title: str | None = None
) -> Figure:
    """Draw a scan: the loop with its feedback, and beside it the first steps, unrolled.

    Sequences enter from below and states from the left; non-sequences stand above.

    Parameters
    ----------
    variables
        What `pytensor.scan` returned, or anything computed from it; or a list of such variables.
    scan
        Which one, if there are several: its number in `describe`'s order, or its name. By default
        the last one.
    title
        Title of the figure; by default the first line of `describe`.

    Returns
    -------
    matplotlib.figure.Figure
        Save it with ``figure.savefig("scan.svg")`` or ``.png``.

    Raises
    ------
    ValueError
        If there is no scan behind the variables.

    Examples
    --------
    >>> import pytensor, pytensor.tensor as pt
    >>> x, h0, w = pt.vector("x"), pt.scalar("h0"), pt.scalar("w")
    >>> h = pytensor.scan(lambda x_t, h, w: pt.tanh(x_t + w * h), sequences=[x],
    ...                   outputs_info=[h0], non_sequences=[w], return_updates=False)
    >>> figure = draw(h)
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
    """Sequences and states with their taps, and the names of the non-sequences."""
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


def _spread(n: int, middle: float, width: float) -> Any:
    """Positions of n things side by side."""
    return middle + width * ((np.arange(n) + 0.5) / max(n, 1) - 0.5)


def _draw_folded(ax: Axes, scan: Anatomy, equations: Sequence[str]) -> None:
    """The step as a box with its equations, and its states as loops around the box."""
    sequences, states, constants = _groups(scan)
    collected = [r.name for r in scan.results if r.kind == "collected"]
    n_loops = len(states)
    box_height = max(1.6, 0.42 * len(equations) + 0.6)
    bottom, top = 1.6, 1.6 + box_height
    height = top + 1.2 + 0.75 * n_loops
    blank(ax, 12.5, height)
    ax.set_title("one step", loc="left", fontsize=11, color=GREY)
    middle = (bottom + top) / 2
    box(ax, 6.0, middle, 7.4, box_height)
    text = "\n".join(equations)
    text_at(ax, 2.55, middle, text, family="monospace", fontsize=8.6, va="center", linespacing=1.4)

    below = [
        f"{name}[t{tap:+d}]".replace("+0", "") for name, taps in sequences.items() for tap in taps
    ]
    for x, name in zip(_spread(len(below), 6.0, 7.0), below, strict=True):
        arrow(ax, (x, 0.65), (x, bottom), GREEN)
        text_at(ax, x, 0.3, name, ha="center", va="center", color=GREEN, fontsize=10)
    for k, (name, taps) in enumerate(states.items()):
        y = middle + (k - (n_loops - 1) / 2) * min(0.8, box_height / (n_loops + 1))
        over, side = top + 0.75 + 0.75 * k, 0.35 * k
        out, back = 10.4 + side, 1.6 - side
        ax.plot([9.7, out, out, back, back], [y, y, over, over, y], color=ORANGE, linewidth=1.5)
        arrow(ax, (back, y), (2.3, y), ORANGE)
        delays = ", ".join(f"{name}[t{tap:+d}]" for tap in taps)
        words = f"{name}[t], at the next step {delays}"
        style = {"ha": "center", "va": "bottom", "color": ORANGE, "fontsize": 10}
        text_at(ax, 6.0, over + 0.12, words, **style)
    for k, name in enumerate(collected):
        y = bottom + 0.4 + 0.5 * k
        arrow(ax, (9.7, y), (11.2, y), BLUE)
        text_at(ax, 11.3, y, name, va="center", color=BLUE, fontsize=10)
    if constants:
        names = "\n".join(wrap(", ".join(constants), 60))
        text_at(ax, 6.0, top + 0.3, f"the same at all steps: {names}", ha="center", va="center",
                color=GREY, fontsize=9)  # fmt: skip


def _draw_unrolled(ax: Axes, scan: Anatomy) -> None:
    """The first steps one after the other."""
    sequences, states, _ = _groups(scan)
    n_states = len(states)
    deepest = max((-tap for taps in states.values() for tap in taps), default=0)
    height = 4.4 + 0.8 * max(n_states - 1, 0) + 0.5 * len(sequences) + 1.1 * (deepest > 1)
    blank(ax, 17.0, height)
    ax.set_title("unrolled", loc="left", fontsize=11, color=GREY)
    bottom = 0.6 + 0.5 * len(sequences)
    tall = 1.5 + 0.8 * max(n_states - 1, 0)
    middle = bottom + 0.9 + tall / 2
    centres = [4.3 + 4.4 * k for k in range(N_SHOWN)]
    results = [r for r in scan.results if r.kind in ("fed back", "collected")]

    def index(k: int, tap: int, last_tap: int) -> str:
        return f"T{tap - last_tap - k - 1}" if scan.backwards else str(k + tap)

    for k, x in enumerate(centres):
        box(ax, x, middle, 2.2, tall)
        text_at(ax, x, middle, f"step {k}", ha="center", va="center", fontsize=10)
        for row, (name, taps) in enumerate(sequences.items()):
            label = ", ".join(f"{name}[{index(k, tap, max(taps))}]" for tap in taps)
            text_at(
                ax, x, 0.3 + 0.5 * row, label, ha="center", va="center", color=GREEN, fontsize=9.5
            )
        if sequences:
            arrow(ax, (x, 0.6 + 0.5 * (len(sequences) - 1)), (x, middle - tall / 2), GREEN)
        names = [r.name.replace("[t]", f"[{k}]") for r in results]
        arrow(ax, (x, middle + tall / 2), (x, middle + tall / 2 + 0.6), BLUE)
        label = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        text_at(
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
        text_at(ax, 1.5, y + 0.14, first, ha="center", va="bottom", color=ORANGE, fontsize=9.5)
        for k, x in enumerate([*centres, centres[-1] + 4.4] if -1 in taps else []):
            start = centres[k - 1] + 1.1 if k else 0.5
            end = x - 1.1 if k < N_SHOWN else start + 1.6
            arrow(ax, (start, y), (end, y), ORANGE)
            if k:
                style = {"ha": "center", "va": "bottom", "color": ORANGE, "fontsize": 9.5}
                text_at(ax, (start + end) / 2, y + 0.14, f"{name}[{k - 1}]", **style)
        for tap in taps:
            if tap < -1:  # past the steps in between
                for k in range(N_SHOWN + tap):
                    between = (centres[k] + centres[k - tap]) / 2
                    text_at(ax, between, middle - tall / 2 - 1.0, f"{name}[{k}]", ha="center",
                            color=ORANGE, fontsize=9.5)  # fmt: skip
                    tail = (centres[k] + 0.6, middle - tall / 2)
                    arrow(ax, tail, (centres[k - tap] - 0.6, middle - tall / 2), ORANGE, bend=0.35)
    text_at(ax, centres[-1] + 3.1, middle, "...", fontsize=14, color=ORANGE, va="center")
