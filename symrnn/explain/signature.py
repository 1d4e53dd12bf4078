"""The signature of a scan's step: its arguments and results, as the user's code has them.

PyTensor sorts what a scan gets and returns by how it is fed back, and forgets the names of the
step's arguments. Here both are put back into the order and under the names of the code that built
the scan, as far as they can be found. A name is looked for at the step's result, at the variable
that `pytensor.scan` returned, at the initial value (``h0`` and ``h_0`` start ``h``) and at the
sequence.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Constant, Variable
from pytensor.scan.utils import ScanArgs
from pytensor.tensor.random.type import RandomType
from pytensor.tensor.subtensor import IncSubtensor

from symrnn.explain.anatomy import Anatomy, Argument, Result
from symrnn.explain.expressions import ExpressionPrinter
from symrnn.explain.graphs import age
from symrnn.explain.slices import is_last, is_shape, part_of, sliced

KINDS = ("a scalar", "a vector", "a matrix")


class UniqueNames:
    """Hands out each name once: a name that is taken gets a number."""

    def __init__(self) -> None:
        self.taken: set[str] = set()

    def __call__(self, wanted: str) -> str:
        """Return this name, or the first one with a number that is not taken."""
        name, k = wanted, 1
        while name in self.taken:
            name, k = f"{wanted}{k}", k + 1
        self.taken.add(name)
        return name


def all_backwards(args: ScanArgs) -> bool:
    """Whether a scan has sequences, and goes through all of them from the end."""
    directions = [part_of(s).backwards for s in args.outer_in_seqs]
    return bool(directions) and all(directions)


def results_of(
    args: ScanArgs,
    names: UniqueNames,
    uses: dict[Variable, list[Variable]],
    forward: Anatomy | None,
) -> list[Result]:
    """Return the step's results: states in the order of their initial values, then the others.

    PyTensor's scan of a gradient has an order of its own: gradients of the states, then of the
    non-sequences, then of the sequences of the scan `forward` that it differentiates.
    """
    of_states, of_others, of_sequences = _gradient_names(args, forward)
    found: list[Result] = []

    def add(name: str, kind: str, taps: Any, inner: Any, outer: Any, initial: Any = None) -> None:
        last_only = kind == "final" and uses.get(outer)
        used = "the last step" if last_only else _used(outer, uses)
        found.append(Result(name, kind, tuple(taps), used, inner, outer, initial))

    taps = [*args.mit_sot_in_slices, *([-1] for _ in args.inner_out_sit_sot)]
    inner_states = [*args.inner_out_mit_sot, *args.inner_out_sit_sot]
    outer_states = [*args.outer_out_mit_sot, *args.outer_out_sit_sot]
    starts = [*args.outer_in_mit_sot, *args.outer_in_sit_sot]
    states = zip(taps, inner_states, outer_states, starts, strict=True)
    for its_taps, inner, outer, start in sorted(states, key=lambda state: age(state[3])):
        initial = _initial(start)
        own = _name_of(inner, outer, uses) or _without_0(initial)
        name = names(next(of_others, "") or own or "state")
        add(f"{name}[t]", "fed back", its_taps, inner, outer, initial)
    untraced = (args.inner_out_shared, args.outer_out_shared, args.outer_in_shared)
    for inner, outer, start in zip(*untraced, strict=True):
        name = names("rng" if isinstance(inner.type, RandomType) else "untraced")
        add(f"{name}[t]", "final", (-1,), inner, outer, start)
    for inner, outer in zip(args.inner_out_nit_sot, args.outer_out_nit_sot, strict=True):
        name = names(next(of_sequences, "") or _name_of(inner, outer, uses) or "output")
        add(f"{name}[t]", "collected", (), inner, outer)
    gradients = (
        args.inner_out_mit_mot,
        args.mit_mot_out_slices,
        args.outer_out_mit_mot,
        args.outer_in_mit_mot,
    )
    for inners, slices, outer, start in zip(*gradients, strict=True):
        name = names(next(of_states, "") or "gradient")
        for inner, tap in zip(inners, slices, strict=True):
            add(f"{name}{_at(-tap)}", "gradient", (), inner, outer, start)
    return found


def _gradient_names(args: ScanArgs, forward: Anatomy | None) -> list[Iterator[str]]:
    """Names of the results of a gradient's scan: of states, of non-sequences, of sequences."""
    if forward is None:
        return [iter(()), iter(()), iter(())]
    node = forward.node
    outer = [*node.op.outer_mitsot_outs(node.outputs), *node.op.outer_sitsot_outs(node.outputs)]
    states = [r.name for v in outer for r in forward.results if r.outer is v]
    arguments = sorted(forward.arguments, key=lambda a: a.position)
    others = [a.name for a in arguments if a.kind in ("shared", "non-sequence")]
    sequences = [a.name for a in arguments if a.kind == "sequence"]
    groups = [
        (states, args.outer_out_mit_mot),
        (others, args.outer_out_sit_sot),
        (sequences, args.outer_out_nit_sot),
    ]
    return [
        iter([f"d_{n.removesuffix('[t]')}" for n in group] if len(group) == len(own) else ())
        for group, own in groups
    ]


def arguments_of(
    args: ScanArgs,
    results: Sequence[Result],
    names: UniqueNames,
    printer: ExpressionPrinter,
    before: Sequence[Anatomy],
) -> list[Argument]:
    """Return the step's arguments: sequences, states in the order of the results, non-sequences.

    `before` are the scans that run before this one, whose results may be its sequences.
    """
    found: list[Argument] = []
    position = {v: k for k, v in enumerate(args.inner_inputs)}

    def add(name: str, kind: str, source: str, tap: int | None, inner: Any, outer: Any) -> None:
        found.append(Argument(name, kind, source, tap, inner, outer, position[inner]))

    n_initial = {r.outer: -min(r.taps) for s in before for r in s.results if r.kind == "fed back"}
    name_of: dict[tuple[Variable, bool], str] = {}
    all_go_back = all_backwards(args)
    for inner, outer in zip(args.inner_in_seqs, args.outer_in_seqs, strict=True):
        root, start, end, backwards = part_of(outer)
        opposite = backwards and not all_go_back  # against the direction of the others
        tap = end if opposite else start - n_initial.get(root, 0)
        if (root, opposite) not in name_of:
            own = root.name or printer.names.get(root) or "sequence"
            name_of[root, opposite] = names(f"{own}[::-1]" if opposite else own)
        name = f"{name_of[root, opposite]}{_at(tap)}"
        add(name, "sequence", _source(root, printer), tap, inner, root)

    inner_states = [*args.inner_in_mit_sot, *([v] for v in args.inner_in_sit_sot)]
    outer_states = [*args.outer_out_mit_sot, *args.outer_out_sit_sot]
    states = dict(zip(outer_states, inner_states, strict=True))
    untraced = dict(zip(args.outer_out_shared, args.inner_in_shared, strict=True))
    for r in results:
        name = r.name.removesuffix("[t]")
        source = f"starts with {_source(r.initial, printer)}"
        for tap, inner in zip(r.taps, states.get(r.outer, ()), strict=False):
            add(f"{name}{_at(tap)}", "state", source, tap, inner, r.initial)
        if r.outer in untraced:
            inner = untraced[r.outer]
            kind = "generator" if isinstance(inner.type, RandomType) else "state"
            add(f"{name}[t-1]", kind, source, -1, inner, r.initial)

    gradients = (args.inner_in_mit_mot, args.mit_mot_in_slices, args.outer_in_mit_mot)
    for inners, slices, outer in zip(*gradients, strict=True):
        name = next(r.name for r in results if r.initial is outer).split("[")[0]
        source = f"starts with {_source(outer, printer)}"
        for inner, tap in zip(inners, slices, strict=True):
            add(f"{name}{_at(-tap)} so far", "gradient", source, -tap, inner, outer)

    for inner, outer in zip(args.inner_in_non_seqs, args.outer_in_non_seqs, strict=True):
        shared = isinstance(outer, SharedVariable)
        name = names(outer.name or ("weight" if shared else "constant"))
        kind = "shared" if shared else "non-sequence"
        add(name, kind, _source(outer, printer), None, inner, outer)
    return found


def _at(tap: int) -> str:
    """The time of a tap: ``[t]``, ``[t-1]``, ``[t+2]``."""
    return f"[t{tap:+d}]" if tap else "[t]"


def _initial(start: Variable) -> Variable:
    """The initial value of a state, which PyTensor writes into the array of all its values."""
    if start.owner is None or not isinstance(start.owner.op, IncSubtensor):
        return start
    v = start.owner.inputs[1]
    while v.owner is not None and type(v.owner.op).__name__ in ("DimShuffle", "ExpandDims"):
        v = v.owner.inputs[0]
    return sliced(v, lambda s: s.start is None)[0]


def _name_of(inner: Variable, outer: Variable, uses: dict[Variable, list[Variable]]) -> str:
    """Name of a result, without its time."""
    candidates = [*uses.get(outer, []), outer, inner]
    name = next((v.name for v in candidates if v.name), "")
    return re.sub(r"(_t|\[t\]|\(t\))$", "", name)


def _without_0(initial: Variable) -> str:
    """Name of a state, from that of its initial value."""
    return re.sub(r"(_?0|_init|_start)$", "", initial.name or "")


def _used(outer: Variable, uses: dict[Variable, list[Variable]]) -> str:
    """The steps of a result from which something is computed."""
    direct = [v for v in uses.get(outer, []) if not is_shape(v)]
    beyond = []
    for v in direct:
        if v is not outer and sliced(v, lambda s: s.stop is None)[1] is not None:
            beyond += [w for w in uses.get(v, []) if not is_shape(w)]
        else:
            beyond.append(v)
    if not beyond:
        return "no"
    return "the last step" if all(is_last(v) for v in beyond) else "all steps"


def _source(v: Variable | None, printer: ExpressionPrinter, length: int = 60) -> str:
    """A variable outside the scan: its name and type, or the expression it is computed by."""
    if v is None:
        return ""
    if isinstance(v, SharedVariable):
        value = v.get_value(borrow=True)
        kind = f"{value.dtype} {value.shape}" if hasattr(value, "shape") else "a generator"
        return f"{v} ({kind})"
    if v.owner is not None and v not in printer.names:
        text = printer.definition(v)
        return text if len(text) <= length else f"{text[: length - 3]}..."
    if isinstance(v, Constant) or v in printer.names:
        return printer(v)
    ndim = getattr(v.type, "ndim", None)
    if ndim is None:
        return f"{v} ({v.type})"
    kind = KINDS[ndim] if ndim < len(KINDS) else f"{ndim} axes"
    return f"{v} ({kind}, {v.type.dtype})"
