"""Draw what a step computes as a graph of its equations."""

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from pytensor.graph.basic import Variable

from symrnn.explain.description import describe
from symrnn.explain.dissection import chosen_scan
from symrnn.explain.equations import named_steps
from symrnn.explain.shapes import BLUE, COLOURS, GREY, ORANGE, arrow, blank, box, text_at


def draw_step(variables: Variable | Sequence[Variable], *, scan: int | str = -1) -> Figure:
    """Draw a scan's step as a graph: its arguments, equations and results, and which uses which.

    Parameters
    ----------
    variables
        What `pytensor.scan` returned, or anything computed from it; or a list of such variables.
    scan
        Which one, if there are several: its number in `describe`'s order, or its name. By default
        the last one.

    Returns
    -------
    matplotlib.figure.Figure
        Arguments are on the left, and each equation is to the right of all that it uses.

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
    >>> figure = draw_step(h)
    """
    chosen = chosen_scan(describe(variables).scans, scan)
    names = {a.inner: a.name for a in chosen.arguments}
    steps = named_steps(list(names), chosen.outputs, names)
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
    blank(ax, 10 * len(columns), rows + 0.5)
    kinds = {a.name: a.kind for a in chosen.arguments}
    results = {r.name for r in chosen.results if r.kind == "fed back"}
    position: dict[str, tuple[float, float]] = {}
    for k, group in enumerate(columns):
        free = rows - sum(texts[n].count("\n") + 2 for n in group)
        y = rows - free / (len(group) + 1)
        for n in group:
            height = texts[n].count("\n") + 1
            position[n] = (10 * k + 5, y - height / 2 - 0.25)
            colour = COLOURS.get(kinds.get(n, ""), ORANGE if n in results else BLUE)
            box(ax, *position[n], 7.8, height + 0.4, colour)
            text_at(
                ax,
                10 * k + 1.4,
                position[n][1],
                texts[n],
                family="monospace",
                fontsize=8,
                va="center",
            )
            y -= height + 1 + free / (len(group) + 1)
    for n, sources in uses.items():
        for source in sources:
            (x1, y1), (x2, y2) = position[source], position[n]
            if column[n] - column[source] == 1:
                arrow(ax, (x1 + 3.9, y1), (x2 - 3.9, y2), GREY)
            else:  # drawn over the boxes in between, which it does not enter
                line: dict[str, Any] = {"color": GREY, "linestyle": "--", "alpha": 0.6}
                ax.plot([x1 + 3.9, x2 - 4.6], [y1, y2], zorder=3, **line)
                arrow(ax, (x2 - 4.6, y2), (x2 - 3.9, y2), GREY)
    return figure


def _used(v: Variable, known: Mapping[Variable, str]) -> list[str]:
    """The names that an expression uses directly."""
    found: dict[str, None] = {}
    stack = [v] if v.owner is None or v in known else list(v.owner.inputs)
    while stack:
        u = stack.pop(0)
        if u in known:
            found.setdefault(known[u])
        elif u.owner is not None:
            stack.extend(u.owner.inputs)
    return list(found)
