"""Trace a scan: run it, and keep the value of everything in every step.

The scan is not changed. A second one is made from it whose steps give out all they compute, and run
on the same inputs: what is seen is what the scan itself computes, by PyTensor and not by a
simulation of it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pytensor.compile.mode import Mode
from pytensor.graph.basic import Variable
from pytensor.graph.replace import clone_replace
from pytensor.graph.traversal import ancestors

from symrnn.compiling.modes import QUICK
from symrnn.explain.anatomy import Anatomy, anatomies
from symrnn.explain.graphs import as_variables, readable
from symrnn.explain.running import CHUNK, Run, outer_values

LARGE = 2**30  # bytes


class Trace:
    """The values of every step of a scan; what `trace` returns. Print it for a table.

    Attributes
    ----------
    scan
        The scan, taken apart (`symrnn.explain.anatomy.Anatomy`).
    steps
        Numbers of the steps that are in the trace, counted from 0.
    n_steps
        How many steps the scan made.
    values
        For each argument, named intermediate and result its values, shape ``(len(steps), ...)``.
    constants
        Values of the non-sequences and shared variables, the same at all steps.
    """

    def __init__(
        self,
        scan: Anatomy,
        steps: Sequence[int],
        n_steps: int,
        values: dict[str, Any],
        constants: dict[str, Any],
    ) -> None:
        self.scan, self.steps, self.n_steps = scan, list(steps), n_steps
        self.values, self.constants = values, constants

    def __getitem__(self, name: str) -> Any:
        """Values of `name` in all traced steps, or of a constant; ``h`` is short for ``h[t]``."""
        for known in (self.values, self.constants):
            for full in (name, f"{name}[t]"):
                if full in known:
                    return known[full]
        raise KeyError(
            f"{name} is none of {', '.join([*self.values, *self.constants])}: a result can be "
            "named, h.name = 'h', and what a step computes with symrnn.explain.local_names"
        )

    def at(self, step: int) -> dict[str, Any]:
        """All values of one step, by name."""
        row = self._row(step)
        return {name: values[row] for name, values in self.values.items()} | self.constants

    def inside(self, step: int, scan: int | str = -1, **options: Any) -> "Trace":
        """Trace of a scan within the step, at this step of the outer one; options as of `trace`."""
        given = self.at(step)
        arguments = [a for a in self.scan.arguments if a.name in given]
        fresh = {a.inner: a.inner.type(a.name) for a in arguments}
        inner = clone_replace([r.inner for r in self.scan.results], fresh)
        values = {fresh[a.inner]: given[a.name] for a in arguments}
        needed = set(ancestors(inner))
        return trace(inner, {v: x for v, x in values.items() if v in needed}, scan=scan, **options)

    def _row(self, step: int) -> int:
        if step not in self.steps:
            raise ValueError(f"step {step} is not in the trace, which has {_span(self.steps)}")
        return self.steps.index(step)

    def __str__(self) -> str:
        return self.table()

    __repr__ = __str__

    def table(self, steps: Sequence[int] | None = None, names: Sequence[str] | None = None) -> str:
        """Return a table of some steps and names; by default of all in the first and last steps.

        Arrays of up to four numbers are printed whole. Of others it prints the shape, then ``least
        .. mean .. greatest`` value, and the Euclidean norm.
        """
        chosen = list(self.steps if steps is None else steps)
        if steps is None and len(chosen) > 12:
            chosen = chosen[:6] + chosen[-5:]
        names = list(self.values) if names is None else list(names)
        rows = [["step" if self.scan.backwards else "t", *names]]
        for k, step in enumerate(chosen):
            row = self._row(step)
            if k and step != chosen[k - 1] + 1:
                rows.append(["..."] + [""] * len(names))
            rows.append([str(step), *(show(self[name][row]) for name in names)])
        widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
        if sum(widths) + 2 * len(widths) > 110:  # a block for each step
            longest = max(map(len, names))
            lines = []
            for first, *cells in rows[1:]:
                lines.append(first if first == "..." else f"{rows[0][0]} = {first}")
                pairs = zip(names, cells, strict=True)
                lines += [f"  {name:<{longest}}  {cell}" for name, cell in pairs if cell]
            return "\n".join(lines)
        table = []
        for line in rows:
            padded = (f"{c:>{w}}" for c, w in zip(line, widths, strict=True))
            table.append("  ".join(padded).rstrip())
        return "\n".join(table)

    def _repr_html_(self) -> str:
        lines = self.table().replace("&", "&amp;").replace("<", "&lt;")
        return f"<pre>{lines}</pre>"


def show(value: Any) -> str:
    """A small array whole; of a large one its shape, least, mean and greatest value, and norm."""
    array = np.asarray(value)
    if array.dtype.kind not in "biufc":
        return str(value)
    if array.ndim == 0:
        return _number(array)
    if array.size <= 4 and array.ndim == 1:
        return f"[{' '.join(_number(a) for a in array)}]"
    if array.size <= 4:
        return str([show(a) for a in array]).replace("'", "")
    numbers = array.astype(complex if array.dtype.kind == "c" else float)
    low, high = (numbers.min(), numbers.max()) if array.dtype.kind != "c" else (np.nan, np.nan)
    norm = np.linalg.norm(numbers.ravel())
    parts = f"{_number(low)} .. {_number(numbers.mean())} .. {_number(high)} norm {_number(norm)}"
    return f"{'x'.join(map(str, array.shape))} {parts}"


def _number(value: Any) -> str:
    return f"{value:.4g}" if np.asarray(value).dtype.kind in "fc" else str(value)


def _span(steps: Sequence[int]) -> str:
    return f"steps {steps[0]} to {steps[-1]}" if steps else "no steps"


def trace(
    variable: Variable | Sequence[Variable],
    inputs: Mapping[Any, Any] | None = None,
    *,
    scan: int | str = -1,
    steps: Sequence[int] | None = None,
    everything: bool = False,
    max_bytes: int = LARGE,
    mode: Mode | str = QUICK,
) -> Trace:
    """Run the scan behind a variable, and return what every step computed.

    Parameters
    ----------
    variable
        What `pytensor.scan` returned, or anything computed from it, or a list of such. Fast
        recurrent layers of this library are traced as the plain scans that they stand for.
    inputs
        Values of the graph's inputs, by variable or by name. Shared variables have the values that
        they have; random generators are not changed, so that the draws are those of the next call.
    scan
        Which one, if there are several behind the variable: its number in `describe`'s order, or
        its name. By default the last one.
    steps
        Which steps to keep, for example ``range(900, 1000)``, or -1 for the last. By default all.
    everything
        Keep the value of each operation, not only of what has a name or is used more than once.
    max_bytes
        How large the trace may be.
    mode
        Mode of compilation. The default compiles no code.

    Returns
    -------
    Trace
        Values by name.

    Raises
    ------
    ValueError
        If there is no scan, an input is missing or unknown, or one has the wrong dtype or number of
        axes, or there is no such step.
    MemoryError
        If the trace would be larger than `max_bytes`.

    Examples
    --------
    >>> import pytensor, pytensor.tensor as pt
    >>> n, first = pt.iscalar("n"), pt.lvector("f0")
    >>> f = pytensor.scan(lambda a, b: a + b, outputs_info=[dict(initial=first, taps=[-2, -1])],
    ...                   n_steps=n, return_updates=False)
    >>> print(trace(f, {n: 5, first: [0, 1]}))
    t  f[t-2]  f[t-1]  f[t]
    0       0       1     1
    1       1       1     2
    2       1       2     3
    3       2       3     5
    4       3       5     8
    """
    asking = readable(as_variables(variable))
    chosen = chosen_scan(anatomies(asking), scan)
    given = outer_values(chosen.node, asking, dict(inputs or {}), mode)
    return _trace(chosen, given, steps, everything, max_bytes, mode)


def chosen_scan(scans: Sequence[Anatomy], which: int | str) -> Anatomy:
    """Return one of several scans, by its number or name."""
    names = [scan.name for scan in scans]
    if isinstance(which, str):
        if which not in names:
            raise ValueError(f"no scan is called {which}, they are called {names}")
        return scans[names.index(which)]
    if not -len(scans) <= which < len(scans):
        raise ValueError(f"there is no scan {which}: there are {len(scans)} behind this variable")
    return scans[which]


def _numbered(steps: Sequence[int] | None, n_steps: int) -> Sequence[int]:
    """The chosen steps in order, each once; those below 0 are counted from the end."""
    if steps is None:
        return range(n_steps)
    if isinstance(steps, int):
        raise TypeError(f"steps is {steps}, but must be several: steps=[{steps}]")
    chosen = sorted({int(t) + n_steps if t < 0 else int(t) for t in steps})
    for t in chosen:
        if not 0 <= t < n_steps:
            raise ValueError(f"there is no step {t}: the scan makes {n_steps} steps")
    return chosen


def _trace(
    scan: Anatomy,
    given: Sequence[Any],
    steps: Sequence[int] | None,
    everything: bool,
    max_bytes: int,
    mode: Any,
) -> Trace:
    """Trace a scan that is given these values from outside."""
    run = Run(scan, given, everything, mode)
    if run.gradients and steps is not None:
        raise ValueError("of the scan of a gradient only all steps can be traced: leave steps out")
    chosen, size = _numbered(steps, run.n_steps), run.bytes_a_step
    if size * len(chosen) > max_bytes:
        raise MemoryError(
            f"the trace of {len(chosen)} steps would take {size * len(chosen) / 1e6:,.6g} MB: "
            f"choose fewer, for example steps=range({max(1, max_bytes // size)}), or a larger "
            "max_bytes"
        )
    last = min(run.n_steps, max(chosen, default=-1) + 1)
    length = last if steps is None else max(1, CHUNK // max(size, 1))
    columns: dict[str, list[Any]] = {}
    done = 0
    for start, made, series in run.series(last, length):
        done = start + made
        rows = [t - start for t in chosen if start <= t < done]
        for name, values in series.items():
            columns.setdefault(name, []).append(values if steps is None else values[rows])
    if run.info.as_while and steps is not None and chosen and chosen[-1] >= done:
        raise ValueError(f"there is no step {chosen[-1]}: the scan ended after {done} steps")
    if not done:  # no steps at all: the names are there, with nothing in them
        columns = {a.name: [np.empty(0)] for a in scan.arguments if a.name not in run.constants}
        columns |= {name: [np.empty(0)] for name, _ in run.wanted}
    values = {name: np.concatenate(parts) for name, parts in columns.items()}
    return Trace(scan, [t for t in chosen if t < done], done, values, run.constants)
