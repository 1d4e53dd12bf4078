"""Trace a scan: run it, and keep the value of everything in every step.

The scan itself is not changed. A second one is built from it, whose steps return all that they
compute, and runs on the same inputs: the values come from PyTensor, not from a simulation.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pytensor.compile.mode import Mode
from pytensor.graph.basic import Variable
from pytensor.graph.replace import clone_replace
from pytensor.graph.traversal import ancestors

from symrnn.compiling.modes import QUICK
from symrnn.explain.anatomy import Anatomy
from symrnn.explain.dissection import anatomies, chosen_scan
from symrnn.explain.graphs import as_variables
from symrnn.explain.inputs import outer_values
from symrnn.explain.plain import with_plain_scans
from symrnn.explain.running import CHUNK, Run

MAX_BYTES = 2**30


class Trace:
    """The values of every step of a scan, returned by `trace`. Print it for a table.

    Attributes
    ----------
    scan
        The scan, taken apart (`symrnn.explain.anatomy.Anatomy`).
    steps
        Numbers of the traced steps, counted from 0.
    n_steps
        Number of steps that the scan made.
    values
        Values of each argument, named intermediate and result, shape ``(len(steps), ...)``.
    constants
        Values of the non-sequences and shared variables, which are the same at all steps.
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
        """Return the values of `name` in all traced steps; ``h`` is short for ``h[t]``."""
        for known in (self.values, self.constants):
            for full in (name, f"{name}[t]"):
                if full in known:
                    return known[full]
        raise KeyError(
            f"{name} is not among {', '.join([*self.values, *self.constants])}: name a result by "
            "h.name = 'h', and what a step computes by symrnn.explain.local_names"
        )

    def at(self, step: int) -> dict[str, Any]:
        """Return all values of one step, by name."""
        row = self._row(step)
        return {name: values[row] for name, values in self.values.items()} | self.constants

    def inside(self, step: int, *, scan: int | str = -1, **options: Any) -> "Trace":
        """Trace a scan inside the step.

        Parameters
        ----------
        step
            The step of the outer scan at which to look inside.
        scan
            Which one, if the step has several: its number or name.
        options
            Other options of `trace`.
        """
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

    def table(
        self, *, steps: Sequence[int] | None = None, names: Sequence[str] | None = None
    ) -> str:
        """Return a table of the values.

        Arrays of up to four numbers are printed in full. Larger ones are printed as their shape,
        ``smallest .. mean .. largest`` value, and Euclidean norm.

        Parameters
        ----------
        steps
            Steps to print; by default the first and the last ones.
        names
            Names to print; by default all.
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
    """Return a small array in full; of a larger one its shape, range, mean and norm."""
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
    max_bytes: int = MAX_BYTES,
    mode: Mode | str = QUICK,
) -> Trace:
    """Run the scan behind a variable, and return what every step computed.

    Parameters
    ----------
    variable
        What `pytensor.scan` returned, or anything computed from it, or a list of such variables.
        Fast recurrent layers of this library are traced as the plain scans that they stand for.
    inputs
        Values of the graph's inputs, by variable or by name. Shared variables keep their values;
        random generators do not advance, so the draws are those of the next call.
    scan
        Which one, if there are several behind the variable: its number in `describe`'s order, or
        its name. By default the last one.
    steps
        Steps to keep, for example ``range(900, 1000)`` or ``[-1]`` for the last. By default all.
    everything
        Keep the value of each operation, not only of what has a name or is used more than once.
    max_bytes
        Largest size of the trace.
    mode
        Mode of compilation. The default compiles no code and starts at once.

    Returns
    -------
    Trace
        The values, by name.

    Raises
    ------
    MemoryError
        If the trace would be larger than `max_bytes`; nothing large has been made by then.

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
    variables = with_plain_scans(as_variables(variable))
    chosen = chosen_scan(anatomies(variables), scan)
    given = outer_values(chosen.node, variables, inputs or {}, mode)
    return _trace(chosen, given, steps, everything, max_bytes, mode)


def _numbered(steps: Sequence[int] | None, n_steps: int) -> Sequence[int]:
    """The chosen steps in order, each once; negative ones are counted from the end."""
    if steps is None:
        return range(n_steps)
    if isinstance(steps, int):
        raise TypeError(f"steps is {steps}, but must be a list or range: steps=[{steps}]")
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
    """Trace a scan with these values of its outer inputs."""
    run = Run(scan, given, everything=everything, mode=mode)
    if run.gradients and steps is not None:
        raise ValueError("the scan of a gradient can only be traced as a whole: leave steps out")
    chosen, size = _numbered(steps, run.n_steps), run.bytes_per_step
    if size * len(chosen) > max_bytes:
        raise MemoryError(
            f"the trace of {len(chosen)} steps would take {size * len(chosen) / 1e6:,.6g} MB: "
            f"choose fewer steps, for example steps=range({max(1, max_bytes // size)}), or a "
            "larger max_bytes"
        )
    last = min(run.n_steps, max(chosen, default=-1) + 1)
    length = last if steps is None else max(1, CHUNK // max(size, 1))
    columns: dict[str, list[Any]] = {}
    done = 0
    for start, made, found in run.chunks(last, length):
        done = start + made
        rows = [t - start for t in chosen if start <= t < done]
        for name, values in found.items():
            columns.setdefault(name, []).append(values if steps is None else values[rows])
    if run.info.as_while and steps is not None and chosen and chosen[-1] >= done:
        raise ValueError(f"there is no step {chosen[-1]}: the scan ended after {done} steps")
    if not done:  # no steps at all: all names, without values
        columns = {a.name: [np.empty(0)] for a in scan.arguments if a.name not in run.constants}
        columns |= {name: [np.empty(0)] for name, _ in run.wanted}
    values = {name: np.concatenate(parts) for name, parts in columns.items()}
    return Trace(scan, [t for t in chosen if t < done], done, values, run.constants)
