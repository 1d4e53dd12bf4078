"""Run a scan so that it gives out all that its steps compute, piece by piece."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.traversal import explicit_graph_inputs, graph_inputs
from pytensor.scan.op import Scan, ScanInfo
from pytensor.tensor.random.type import RandomType
from pytensor.tensor.subtensor import IncSubtensor
from pytensor.tensor.type import TensorType

from symrnn.explain.anatomy import Anatomy, Argument
from symrnn.explain.equations import Writer, in_order, named_steps
from symrnn.kernels.recurrence import materialise

CHUNK = 2**26


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
