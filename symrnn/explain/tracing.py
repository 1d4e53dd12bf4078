"""Trace a scan: run it, and keep the value of everything in every step.

The scan is not changed. A second one is made from it whose steps give out all they compute, and run
on the same inputs: what is seen is what the scan itself computes, by PyTensor and not by a
simulation of it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.compile.mode import Mode
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.replace import clone_replace
from pytensor.graph.traversal import ancestors, explicit_graph_inputs, graph_inputs
from pytensor.scan.op import Scan, ScanInfo
from pytensor.tensor.random.type import RandomType
from pytensor.tensor.subtensor import IncSubtensor
from pytensor.tensor.type import TensorType

from symrnn.bptt import materialise
from symrnn.compiling import QUICK
from symrnn.explain.anatomy import Anatomy, Argument, anatomies, as_variables, readable
from symrnn.explain.equations import Writer, in_order, named_steps

LARGE = 2**30  # bytes
CHUNK = 2**26


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


def outer_values(
    node: Apply[Any], asking: Sequence[Variable], inputs: dict[Any, Any], mode: Any
) -> list[Any]:
    """What a scan is given from outside, computed from values of the graph's inputs."""
    needed = list(explicit_graph_inputs(node.inputs))
    needed, values = values_of(needed, list(explicit_graph_inputs(asking)), inputs)
    given = [_first_rows(node, k, v) for k, v in enumerate(node.inputs)]
    wanted = list(dict.fromkeys(v for v in given if not isinstance(v, SharedVariable)))
    function = pytensor.function(needed, wanted, mode=mode, updates=as_they_are(wanted))
    known = dict(zip(wanted, function(*values), strict=True))
    return [v.get_value() if isinstance(v, SharedVariable) else known[v] for v in given]


def as_they_are(variables: Sequence[Variable]) -> dict[Variable, Variable]:
    """Updates that leave random generators as they are, also where they would update themselves."""
    return {
        v: v
        for v in graph_inputs(variables)
        if isinstance(v, SharedVariable) and isinstance(v.type, RandomType)
    }


def _first_rows(node: Apply[Any], k: int, v: Variable) -> Variable:
    """Of the array in which a state is collected only what it starts with; else `v` itself."""
    info = node.op.info
    first = 1 + info.n_seqs + info.n_mit_mot
    if not first <= k < first + info.n_mit_sot + info.n_sit_sot:
        return v
    if v.owner is not None and isinstance(v.owner.op, IncSubtensor):
        return v.owner.inputs[1]
    taps = [*info.mit_sot_in_slices, *info.sit_sot_in_slices][k - first]
    return v[: -min(taps)]


def values_of(
    needed: Sequence[Variable], known: Sequence[Variable], inputs: dict[Any, Any]
) -> tuple[list[Variable], list[Any]]:
    """Return the inputs that are needed, and their values."""
    values = {_find(key, known): value for key, value in inputs.items()}
    missing = [str(v) for v in needed if v not in values]
    if missing:
        raise ValueError(f"values are missing for the inputs {', '.join(missing)}")
    return list(needed), [_checked(v, values[v]) for v in needed]


def _find(key: Any, known: Sequence[Variable]) -> Variable:
    """The input that is meant by a variable or a name."""
    for v in known:
        if v is key or (isinstance(key, str) and v.name == key):
            return v
    if isinstance(key, SharedVariable):
        raise ValueError(f"{key} is a shared variable, it has its value: {key}.set_value(...)")
    names = ", ".join(str(v) for v in known) or "none"
    raise ValueError(f"{key} is not an input of this graph; its inputs are: {names}")


def _checked(v: Variable, value: Any) -> Any:
    if not isinstance(v.type, TensorType):
        return value
    array = np.asarray(value)
    if array.size and not np.can_cast(array.dtype, v.type.dtype, "same_kind"):
        raise ValueError(f"the value of {v} has dtype {array.dtype}, but {v} is {v.type.dtype}")
    if array.ndim != v.type.ndim:
        raise ValueError(
            f"the value of {v} has shape {array.shape}, but {v} has {v.type.ndim} axes"
        )
    return array.astype(v.type.dtype)


class _Steps:
    """The scan with more outputs: a function from what it is given to what its steps compute."""

    def __init__(self, scan: Anatomy, extra: Sequence[Variable], mode: Any) -> None:
        node, op, info = scan.node, scan.node.op, scan.node.op.info
        inner = scan.inner_outputs
        self.n_before = info.n_mit_mot_outs + info.n_mit_sot + info.n_sit_sot + info.n_nit_sot
        more = replace(info, n_nit_sot=info.n_nit_sot + len(extra))
        outputs = [*inner[: self.n_before], *extra, *inner[self.n_before :]]
        new = Scan(
            scan.inner_inputs, outputs, more, mode=op.mode, truncate_gradient=-1, name=op.name
        )
        self.info, self.n_extra = info, len(extra)
        # the lengths of outputs that are only collected stand behind the states
        self.lengths_end = len(node.inputs) - info.n_non_seqs
        self.symbols = symbols = [
            pt.tensor(dtype=v.type.dtype, shape=(None, *v.type.shape[1:]))
            if k < self.lengths_end and getattr(v.type, "ndim", 0)
            else v.type()
            for k, v in enumerate(node.inputs)
        ]
        lengths = [symbols[0]] * len(extra)
        given = [*symbols[: self.lengths_end], *lengths, *symbols[self.lengths_end :]]
        self.function = pytensor.function(
            symbols, new(*given, return_list=True), mode=mode, on_unused_input="ignore"
        )

    def __call__(self, values: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        """Return the scan's own outputs, and the extra ones."""
        values = [
            np.asarray(v, dtype=s.type.dtype) if isinstance(s.type, TensorType) else v
            for s, v in zip(self.symbols, values, strict=True)
        ]
        outputs = self.function(*values)
        n = self.info.n_mit_mot + self.info.n_mit_sot + self.info.n_sit_sot + self.info.n_nit_sot
        return [*outputs[:n], *outputs[n + self.n_extra :]], outputs[n : n + self.n_extra]


class Run:
    """A scan that gives out what its steps compute, piece by piece."""

    def __init__(self, scan: Anatomy, given: Sequence[Any], everything: bool, mode: Any) -> None:
        self.scan, self.info = scan, scan.node.op.info
        self.n_steps = int(given[0])
        names = {a.inner: a.name for a in scan.arguments}
        wanted = named_steps(list(names), results_of(scan), names)
        if everything:
            wanted = _all_steps(scan, names, wanted)
        self.wanted = [(name, v) for name, v in wanted if isinstance(v.type, TensorType)]
        self.gradients = [a for a in scan.arguments if a.kind == "gradient"]
        extra = [a.inner for a in self.gradients] + [v for _, v in self.wanted]
        if self.gradients:  # their arrays are changed while the scan runs
            extra = [materialise(v) for v in extra]
        self.function = _Steps(scan, extra, mode)
        self.given, pieces = given, _Pieces(self.info, given)
        self.constants = {
            a.name: pieces.value_of(a)
            for a in scan.arguments
            if a.kind in ("shared", "non-sequence")
        }
        known = self.n_steps and not self.gradients
        self.bytes_a_step = pieces.bytes_a_step(self.function) if known else 0

    def series(self, last: int, length: int) -> Iterator[tuple[int, int, dict[str, Any]]]:
        """Yield ``start, number of steps, values by name`` of pieces of at most `length` steps."""
        done, pieces = 0, _Pieces(self.info, self.given)
        computed = [a.name for a in self.gradients] + [name for name, _ in self.wanted]
        while done < last:
            n = min(length, last - done)
            outputs, extras = self.function(pieces.of(done, n))
            made = pieces.made(outputs, extras, n)
            found = pieces.arguments(self.scan.arguments, outputs, done, made)
            found |= dict(zip(computed, (v[:made] for v in extras), strict=True))
            order = [a.name for a in self.scan.arguments if a.name in found]
            yield done, made, {name: found[name] for name in [*order, *computed]}
            done += made
            pieces.carry(outputs, made)
            if made < n:
                return


def results_of(scan: Anatomy) -> list[tuple[str, Variable]]:
    """The results of a scan's step, with their names."""
    return [(r.name, r.inner) for r in scan.results]


def _all_steps(
    scan: Anatomy, names: dict[Variable, str], named: Sequence[tuple[str, Variable]]
) -> list[tuple[str, Variable]]:
    """Each operation of a step; what has no name is called by its expression."""
    name_of = dict(names) | {v: name for name, v in named}
    taken, steps = set(name_of.values()), []
    write = Writer(name_of)
    for node in in_order(scan.inner_outputs, set(scan.inner_inputs)):
        for v in node.outputs:
            name = name_of.get(v)
            if name is None:
                name = write(v)
                while name in taken:
                    name += "'"
                taken.add(name)
            steps.append((name, v))
    return steps


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


class _Pieces:
    """What a scan is given, cut into pieces of some steps."""

    def __init__(self, info: ScanInfo, given: Sequence[Any]) -> None:
        self.info = info
        rest = iter(given[1:])

        def take(n: int) -> list[Any]:
            return [next(rest) for _ in range(n)]

        self.series, self.gradients = take(info.n_seqs), take(info.n_mit_mot)
        self.taps = [*info.mit_sot_in_slices, *info.sit_sot_in_slices]
        starts = take(len(self.taps))
        self.states = [s[: -min(taps)] for s, taps in zip(starts, self.taps, strict=True)]
        self.untraced = take(info.n_untraced_sit_sot)
        take(info.n_nit_sot)
        self.constants = list(rest)

    def of(self, start: int, n: int) -> list[Any]:
        """What the scan is given for the steps from `start` on."""
        buffers = [np.concatenate([s, np.zeros((n, *s.shape[1:]), s.dtype)]) for s in self.states]
        series = [s[start : start + n] for s in self.series]
        lengths = [n] * self.info.n_nit_sot
        return [n, *series, *self.gradients, *buffers, *self.untraced, *lengths, *self.constants]

    def bytes_a_step(self, run: _Steps) -> int:
        """How much one step of the trace takes."""
        _, extras = run(self.of(0, 1))
        states = sum(s[:1].nbytes * len(t) for s, t in zip(self.states, self.taps, strict=True))
        return int(states + sum(v[:1].nbytes for v in [*self.series, *extras]))

    def made(self, outputs: Sequence[Any], extras: Sequence[Any], n: int) -> int:
        """How many steps were made: fewer than `n` if the scan has ended itself."""
        if not self.info.as_while:
            return n
        if extras:
            return min(n, len(extras[0]))
        first = self.info.n_mit_mot
        return int(min(n, len(outputs[first]) + min(self.taps[0])))

    def carry(self, outputs: Sequence[Any], made: int) -> None:
        """Take the states after a piece as those before the next one."""
        first = self.info.n_mit_mot
        for k, taps in enumerate(self.taps):
            self.states[k] = outputs[first + k][made : made - min(taps)]
        if self.untraced:
            self.untraced = list(outputs[-len(self.untraced) :])

    def arguments(
        self, arguments: Sequence[Argument], outputs: Sequence[Any], start: int, made: int
    ) -> dict[str, Any]:
        """Values of the sequences and states in each step, by name."""
        info, found = self.info, {}
        first_state = info.n_seqs + sum(map(len, info.mit_mot_in_slices))
        of_state = [(k, tap) for k, taps in enumerate(self.taps) for tap in taps]
        for a in arguments:
            if a.kind == "sequence":
                found[a.name] = self.series[a.place][start : start + made]
            elif a.kind == "state" and a.place - first_state < len(of_state):
                k, tap = of_state[a.place - first_state]
                begin = tap - min(self.taps[k])
                found[a.name] = outputs[info.n_mit_mot + k][begin : begin + made]
        return found

    def value_of(self, argument: Argument) -> Any:
        """Value of a non-sequence."""
        n_others = self.info.n_inner_inputs - self.info.n_non_seqs
        return self.constants[argument.place - n_others]
