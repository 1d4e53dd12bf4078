"""Run a scan whose steps return all that they compute, in chunks of steps to limit memory."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.compile.ops import DeepCopyOp
from pytensor.graph.basic import Variable
from pytensor.scan.op import Scan, ScanInfo
from pytensor.tensor.type import TensorType

from symrnn.explain.anatomy import Anatomy, Argument
from symrnn.explain.equations import named_steps
from symrnn.explain.expressions import ExpressionPrinter
from symrnn.explain.graphs import in_order

CHUNK = 2**26
"""Bytes of values after which they are handed on."""


class _Steps:
    """The scan with more outputs, compiled: from its outer inputs to what its steps compute."""

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
        # the lengths of outputs that are only collected come after the states
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
    """A scan whose steps return all that they compute.

    Parameters
    ----------
    scan
        The scan.
    given
        Values of its outer inputs, from `symrnn.explain.inputs.outer_values`.
    everything
        Return the value of each operation, not only of what has a name or is used more than once.
    mode
        Mode of compilation.
    """

    def __init__(self, scan: Anatomy, given: Sequence[Any], *, everything: bool, mode: Any) -> None:
        self.scan, self.info = scan, scan.node.op.info
        self.n_steps = int(given[0])
        names = {a.inner: a.name for a in scan.arguments}
        wanted = named_steps(list(names), scan.outputs, names)
        if everything:
            wanted = _all_steps(scan, names, wanted)
        self.wanted = [(name, v) for name, v in wanted if isinstance(v.type, TensorType)]
        self.gradients = [a for a in scan.arguments if a.kind == "gradient"]
        extra = [a.inner for a in self.gradients] + [v for _, v in self.wanted]
        if self.gradients:  # copies, as the arrays change while the scan runs
            extra = [DeepCopyOp()(v) for v in extra]  # x.copy() is rewritten away
        self.function = _Steps(scan, extra, mode)
        self.given, chunks = given, _Chunks(self.info, given)
        self.constants = {
            a.name: chunks.value_of(a)
            for a in scan.arguments
            if a.kind in ("shared", "non-sequence")
        }
        known = self.n_steps and not self.gradients
        self.bytes_per_step = chunks.bytes_per_step(self.function) if known else 0

    def chunks(self, n_steps: int, length: int) -> Iterator[tuple[int, int, dict[str, Any]]]:
        """Make `n_steps` steps and yield ``start, number of steps, values by name`` of each chunk.

        A chunk has at most `length` steps.
        """
        done, chunks = 0, _Chunks(self.info, self.given)
        computed = [a.name for a in self.gradients] + [name for name, _ in self.wanted]
        while done < n_steps:
            n = min(length, n_steps - done)
            outputs, extras = self.function(chunks.inputs(done, n))
            made = chunks.n_made(outputs, extras, n)
            found = chunks.arguments(self.scan.arguments, outputs, done, made)
            found |= dict(zip(computed, (v[:made] for v in extras), strict=True))
            order = [a.name for a in self.scan.arguments if a.name in found]
            yield done, made, {name: found[name] for name in [*order, *computed]}
            done += made
            chunks.carry(outputs, made)
            if made < n:
                return


def _all_steps(
    scan: Anatomy, names: dict[Variable, str], named: Sequence[tuple[str, Variable]]
) -> list[tuple[str, Variable]]:
    """The results of all operations of a step; those without a name have their expression."""
    name_of = dict(names) | {v: name for name, v in named}
    taken, steps = set(name_of.values()), []
    printer = ExpressionPrinter(name_of)
    for node in in_order(scan.inner_outputs, set(scan.inner_inputs)):
        for v in node.outputs:
            name = name_of.get(v)
            if name is None:
                name = printer(v)
                while name in taken:
                    name += "'"
                taken.add(name)
            steps.append((name, v))
    return steps


class _Chunks:
    """A scan's outer inputs for chunks of its steps; the states go from one to the next."""

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

    def inputs(self, start: int, n: int) -> list[Any]:
        """Return the outer inputs for `n` steps from `start` on."""
        buffers = [np.concatenate([s, np.zeros((n, *s.shape[1:]), s.dtype)]) for s in self.states]
        series = [s[start : start + n] for s in self.series]
        lengths = [n] * self.info.n_nit_sot
        return [n, *series, *self.gradients, *buffers, *self.untraced, *lengths, *self.constants]

    def bytes_per_step(self, function: _Steps) -> int:
        """Return the size of the values of one step."""
        _, extras = function(self.inputs(0, 1))
        states = sum(s[:1].nbytes * len(t) for s, t in zip(self.states, self.taps, strict=True))
        return int(states + sum(v[:1].nbytes for v in [*self.series, *extras]))

    def n_made(self, outputs: Sequence[Any], extras: Sequence[Any], n: int) -> int:
        """Return the number of steps made: fewer than `n` if the scan ended itself."""
        if not self.info.as_while:
            return n
        if extras:
            return min(n, len(extras[0]))
        first = self.info.n_mit_mot
        return int(min(n, len(outputs[first]) + min(self.taps[0])))

    def carry(self, outputs: Sequence[Any], made: int) -> None:
        """Make the states after this chunk those before the next one."""
        first = self.info.n_mit_mot
        for k, taps in enumerate(self.taps):
            self.states[k] = outputs[first + k][made : made - min(taps)]
        if self.untraced:
            self.untraced = list(outputs[-len(self.untraced) :])

    def arguments(
        self, arguments: Sequence[Argument], outputs: Sequence[Any], start: int, made: int
    ) -> dict[str, Any]:
        """Return the values of the sequences and states in each step, by name."""
        info, found = self.info, {}
        first_state = info.n_seqs + sum(map(len, info.mit_mot_in_slices))
        of_state = [(k, tap) for k, taps in enumerate(self.taps) for tap in taps]
        for a in arguments:
            if a.kind == "sequence":
                found[a.name] = self.series[a.position][start : start + made]
            elif a.kind == "state" and a.position - first_state < len(of_state):
                k, tap = of_state[a.position - first_state]
                begin = tap - min(self.taps[k])
                found[a.name] = outputs[info.n_mit_mot + k][begin : begin + made]
        return found

    def value_of(self, argument: Argument) -> Any:
        """Return the value of a non-sequence."""
        n_others = self.info.n_inner_inputs - self.info.n_non_seqs
        return self.constants[argument.position - n_others]
