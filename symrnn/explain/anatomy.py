"""Take a scan apart: what goes into a step, what comes out of it, and what it is all called.

PyTensor sorts what a scan gets and returns by how it is fed back, and forgets the names of the
step's arguments. Here both are put back into the order and the words of the code that built it, as
far as they can be found: a name is looked for at the step's result, at the variable that
`pytensor.scan` returned, at the initial value (``h0`` and ``h_0`` start ``h``) and at the sequence.

Steps are counted from 0, and ``x[t]`` is what stands there in the sequence. So a sequence with
``taps=[-1, 0]``, whose first step is at its second element, arrives as ``x[t]`` and ``x[t+1]``:
that is what PyTensor keeps of it, ``taps=[0, 1]`` gives the same.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.graph.traversal import ancestors
from pytensor.scan.op import Scan
from pytensor.scan.utils import ScanArgs
from pytensor.tensor.random.type import RandomType
from pytensor.tensor.subtensor import IncSubtensor

from symrnn.explain.equations import Writer, equations, in_order
from symrnn.explain.graphs import age, inner_graph, scans_behind
from symrnn.explain.slices import is_last, is_shape, part_of, sliced


@dataclass(frozen=True)
class Argument:
    """An argument of a scan's step."""

    name: str
    """As in the equations, for example ``x[t-1]``."""
    kind: str
    """``"sequence"``, ``"state"``, ``"non-sequence"``, ``"shared"`` or ``"generator"``."""
    source: str
    """Where its values come from."""
    tap: int | None
    """Which step it is from, relative to this one; None for what is the same at all steps."""
    inner: Variable = field(repr=False)
    """The variable inside the step."""
    outer: Variable = field(repr=False)
    """The whole series, the initial value or the non-sequence, outside."""
    place: int = field(repr=False)
    """Which of the scan's inner inputs it is."""


@dataclass(frozen=True)
class Result:
    """A result of a scan's step."""

    name: str
    kind: str
    """``"fed back"``, ``"collected"`` (no taps), or ``"final"`` (only the last one is kept)."""
    taps: tuple[int, ...]
    """Which earlier steps' values come back as arguments."""
    asked_for: str
    """``"all steps"``, ``"the last step"`` or ``"no"``."""
    inner: Variable = field(repr=False)
    outer: Variable = field(repr=False)
    initial: Variable | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Anatomy:
    """A scan, taken apart.

    Attributes
    ----------
    name
        The scan's own name, if it has one.
    arguments, results
        Those of the step, in the order of the code that built it, as far as that can be found.
    n_steps
        How many steps there are, and why.
    backwards
        Whether it goes from the end of its sequences to their beginning.
    truncate_gradient
        After how many steps the gradient stops; None if it does not.
    until
        The condition that ends it early, as an expression; None if there is none.
    equations
        What a step does.
    node
        PyTensor's own node.
    """

    name: str
    arguments: list[Argument]
    results: list[Result]
    n_steps: str
    backwards: bool
    truncate_gradient: int | None
    until: str | None
    equations: list[str]
    node: Apply[Any] = field(repr=False)
    inner_inputs: list[Variable] = field(repr=False)
    inner_outputs: list[Variable] = field(repr=False)
    """The step as a graph: a copy of the scan's own, with names."""

    @property
    def title(self) -> str:
        """The scan in words: ``a scan``, ``scan LSTMCell``, ``the gradient of a scan``."""
        own = self.name.replace("grad_of_", "")
        what = f"scan {own}" if own not in ("", "scan_fn") else "a scan"
        return "the gradient of " * self.name.count("grad_of_") + what


def anatomies(asking: Sequence[Variable]) -> list[Anatomy]:
    """Take all scans behind the variables apart, the first to run first.

    Raises
    ------
    ValueError
        If there is none.
    """
    found: list[Anatomy] = []
    known: dict[Variable, str] = {}  # what scans have returned, for those that use it
    uses = _uses(asking)
    for node in scans_behind(asking):
        found.append(_anatomy(node, uses, known, found))
        for r in found[-1].results:
            known[r.outer] = r.name.removesuffix("[t]")
    return found


def _anatomy(
    node: Apply[Any],
    uses: dict[Variable, list[Variable]],
    known: Mapping[Variable, str],
    before: Sequence[Anatomy],
) -> Anatomy:
    op = node.op
    inner_inputs, inner_outputs = inner_graph(op)
    graphs = (node.inputs, node.outputs, inner_inputs, inner_outputs)
    # newer versions of PyTensor, which have frozen graphs, never clone
    as_is = {} if hasattr(op.fgraph, "unfreeze") else {"clone": False}
    args = ScanArgs(*graphs, op.info, **as_is)
    names, write = _Names(), Writer(known, brief=True)
    forward = _forward_scan(node, before)
    results = _results(args, names, uses, forward)
    arguments = _arguments(args, results, names, write, before)
    name_of = {a.inner: a.name for a in arguments}
    outputs = [(r.name, r.inner) for r in results]
    if args.cond:
        outputs.append(("stop", args.cond[0]))
    lines = equations(list(name_of), outputs, name_of)
    conditions = [line for line in lines if line.startswith("stop = ")]
    return Anatomy(
        name="" if op.name == "scan_fn" else op.name,
        arguments=arguments,
        results=results,
        n_steps=_n_steps(args, arguments),
        backwards=_all_backwards(args),
        truncate_gradient=None if op.truncate_gradient == -1 else op.truncate_gradient,
        until=conditions[0].removeprefix("stop = ") if conditions else None,
        equations=[line for line in lines if line not in conditions],
        node=node,
        inner_inputs=inner_inputs,
        inner_outputs=inner_outputs,
    )


def _forward_scan(node: Apply[Any], before: Sequence[Anatomy]) -> Anatomy | None:
    """The scan that this one is the gradient of: it has its states or its non-sequences."""
    direct, op = _scans_before(node), node.op
    series = {part_of(s)[0] for s in op.outer_seqs(node.inputs)}
    others = set(op.outer_non_seqs(node.inputs))

    def likeness(scan: Anatomy) -> tuple[int, int]:
        own = scan.node.op.outer_non_seqs(scan.node.inputs)
        return len(series & set(scan.node.outputs)), len(others & set(own))

    candidates = [s for s in before if op.name == f"grad_of_{s.node.op.name}" and s.node in direct]
    return max(reversed(candidates), key=likeness, default=None)


def _scans_before(node: Apply[Any]) -> set[Apply[Any]]:
    """The scans whose outputs a node uses without another scan between."""
    found, waiting, seen = set(), list(node.inputs), set()
    while waiting:
        v = waiting.pop()
        if v in seen or v.owner is None:
            continue
        seen.add(v)
        if isinstance(v.owner.op, Scan):
            found.add(v.owner)
        else:
            waiting.extend(v.owner.inputs)
    return found


def _all_backwards(args: ScanArgs) -> bool:
    directions = [part_of(s)[3] for s in args.outer_in_seqs]
    return bool(directions) and all(directions)


class _Names:
    """Gives each name once."""

    def __init__(self) -> None:
        self.taken: set[str] = set()

    def __call__(self, wanted: str) -> str:
        name, k = wanted, 1
        while name in self.taken:
            name, k = f"{wanted}{k}", k + 1
        self.taken.add(name)
        return name


def _uses(asking: Sequence[Variable]) -> dict[Variable, list[Variable]]:
    """For each variable, what is computed from it; None stands for being asked for itself."""
    uses: dict[Variable, list[Variable]] = {}
    for node in in_order(asking):
        for v in node.inputs:
            uses.setdefault(v, []).extend(node.outputs)
    for v in asking:
        uses.setdefault(v, []).append(v)
    return uses


def _results(
    args: ScanArgs,
    names: _Names,
    uses: dict[Variable, list[Variable]],
    forward: Anatomy | None,
) -> list[Result]:
    """First what is fed back, in the order of the initial values; then the rest.

    PyTensor's scan of a gradient has an order of its own: gradients of the states, then of the
    non-sequences, then of the sequences of the scan that goes `forward`.
    """
    of_states, of_others, of_sequences = _gradient_names(args, forward)
    fed_back = [
        *zip(
            args.mit_sot_in_slices,
            args.inner_out_mit_sot,
            args.outer_out_mit_sot,
            args.outer_in_mit_sot,
            strict=True,
        ),
        *zip(
            [(-1,)] * len(args.inner_out_sit_sot),
            args.inner_out_sit_sot,
            args.outer_out_sit_sot,
            args.outer_in_sit_sot,
            strict=True,
        ),
    ]
    fed_back.sort(key=lambda r: age(r[3]))
    found = []
    for taps, inner, outer, start in fed_back:
        initial = _initial(start)
        own = _name_of(inner, outer, uses) or _without_0(initial)
        name = names(next(of_others, "") or own or "state")
        found.append((name, "fed back", taps, inner, outer, initial))
    for inner, outer in zip(args.inner_out_shared, args.outer_out_shared, strict=True):
        name = names("rng" if isinstance(inner.type, RandomType) else "untraced")
        start = args.outer_in_shared[args.outer_out_shared.index(outer)]
        found.append((name, "final", (-1,), inner, outer, start))
    for inner, outer in zip(args.inner_out_nit_sot, args.outer_out_nit_sot, strict=True):
        name = names(next(of_sequences, "") or _name_of(inner, outer, uses) or "output")
        found.append((name, "collected", (), inner, outer, None))
    inner_of = iter(args.inner_out_mit_mot)
    for outer, start in zip(args.outer_out_mit_mot, args.outer_in_mit_mot, strict=True):
        name = names(next(of_states, "") or "gradient")
        for inner, tap in zip(next(inner_of), _taps_out(args, outer), strict=True):
            found.append((f"{name}[t{_signed(tap)}]", "gradient", (), inner, outer, start))
    return [
        Result(
            name if kind == "gradient" else f"{name}[t]",
            kind,
            taps,
            "the last step" if kind == "final" and uses.get(outer) else _asked_for(outer, uses),
            inner,
            outer,
            initial,
        )
        for name, kind, taps, inner, outer, initial in found
    ]


def _gradient_names(args: ScanArgs, forward: Anatomy | None) -> list[Iterator[str]]:
    """Names of the results of a gradient's scan: of states, of non-sequences, of sequences."""
    if forward is None:
        return [iter(()), iter(()), iter(())]
    node = forward.node
    outer = [*node.op.outer_mitsot_outs(node.outputs), *node.op.outer_sitsot_outs(node.outputs)]
    states = [r.name for v in outer for r in forward.results if r.outer is v]
    by_place = sorted(forward.arguments, key=lambda a: a.place)
    others = [a.name for a in by_place if a.kind in ("shared", "non-sequence")]
    sequences = [a.name for a in by_place if a.kind == "sequence"]
    groups = [
        (states, args.outer_out_mit_mot),
        (others, args.outer_out_sit_sot),
        (sequences, args.outer_out_nit_sot),
    ]
    return [
        iter([f"d_{n.removesuffix('[t]')}" for n in group] if len(group) == len(own) else ())
        for group, own in groups
    ]


def _arguments(
    args: ScanArgs,
    results: Sequence[Result],
    names: _Names,
    write: Writer,
    before: Sequence[Anatomy],
) -> list[Argument]:
    """Sequences, states in the order of the results, non-sequences."""
    found: list[Argument] = []
    place = {v: k for k, v in enumerate(args.inner_inputs)}
    roots: dict[tuple[Variable, bool], str] = {}
    all_backwards = _all_backwards(args)
    n_initial = {r.outer: -min(r.taps) for s in before for r in s.results if r.kind == "fed back"}

    def add(name: str, kind: str, source: str, tap: int | None, inner: Any, outer: Any) -> None:
        found.append(Argument(name, kind, source, tap, inner, outer, place[inner]))

    for inner, outer in zip(args.inner_in_seqs, args.outer_in_seqs, strict=True):
        root, start, end, backwards = part_of(outer)
        alone = backwards and not all_backwards  # against the direction of the others
        start = end if alone else start - n_initial.get(root, 0)
        if (root, alone) not in roots:
            own = root.name or write.names.get(root) or "sequence"
            roots[root, alone] = names(f"{own}[::-1]" if alone else own)
        name = f"{roots[root, alone]}[t{_signed(start)}]"
        add(name, "sequence", _shown(root, write), start, inner, root)
    inner_states = [*args.inner_in_mit_sot, *([v] for v in args.inner_in_sit_sot)]
    outer_states = [*args.outer_out_mit_sot, *args.outer_out_sit_sot]
    state_of = dict(zip(outer_states, inner_states, strict=True))
    generators = dict(zip(args.outer_out_shared, args.inner_in_shared, strict=True))
    for r in results:
        name = r.name.removesuffix("[t]")
        for tap, inner in zip(r.taps, state_of.get(r.outer, ()), strict=False):
            source = f"starts with {_shown(r.initial, write)}"
            add(f"{name}[t{_signed(tap)}]", "state", source, tap, inner, r.initial)
        if r.outer in generators:
            inner = generators[r.outer]
            kind = "generator" if isinstance(inner.type, RandomType) else "state"
            source = f"starts with {_shown(r.initial, write)}"
            add(f"{name}[t-1]", kind, source, -1, inner, r.initial)
    for k, (inners, outer) in enumerate(
        zip(args.inner_in_mit_mot, args.outer_in_mit_mot, strict=True)
    ):
        name = next(r.name for r in results if r.initial is outer).split("[")[0]
        for inner, tap in zip(inners, args.mit_mot_in_slices[k], strict=True):
            tap = -tap
            source = f"starts with {_shown(outer, write)}"
            add(f"{name}[t{_signed(tap)}] so far", "gradient", source, tap, inner, outer)
    for inner, outer in zip(args.inner_in_non_seqs, args.outer_in_non_seqs, strict=True):
        shared = isinstance(outer, SharedVariable)
        name = names(outer.name or ("weight" if shared else "constant"))
        kind = "shared" if shared else "non-sequence"
        add(name, kind, _shown(outer, write), None, inner, outer)
    return found


def _taps_out(args: ScanArgs, outer: Variable) -> list[int]:
    return [-tap for tap in args.mit_mot_out_slices[args.outer_out_mit_mot.index(outer)]]


def _initial(start: Variable) -> Variable:
    """What a state starts with: it is written into the empty array that collects the states."""
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
    return re.sub(r"(_?0|_init|_start)$", "", initial.name or "")


def _asked_for(outer: Variable, uses: dict[Variable, list[Variable]]) -> str:
    """Which steps of a result something is computed from."""
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


def _n_steps(args: ScanArgs, arguments: Sequence[Argument]) -> str:
    """How many steps there are, in words."""
    n = args.n_steps
    if n.owner is None:
        return n.name or str(getattr(n, "data", n))
    if n.owner is not None and any(isinstance(i, Constant) for i in n.owner.inputs[:2]):
        scalar_op = type(getattr(n.owner.op, "scalar_op", None)).__name__
        limits = [str(i.data) for i in n.owner.inputs if isinstance(i, Constant)]
        if scalar_op == "Minimum":
            return f"at most {limits[0]}"
    behind = set(ancestors([n]))
    sequences = [a for a in arguments if a.kind == "sequence" and a.outer in behind]
    names = list(dict.fromkeys(a.name.split("[")[0] for a in sequences))
    if names and any(is_shape(v) for v in behind):
        starts: dict[str, set[int | None]] = {}
        for a in sequences:
            starts.setdefault(a.name.rsplit("[t", 1)[0], set()).add(a.tap)
        shorter = ", less its taps" if any(len(s) > 1 for s in starts.values()) else ""
        return f"as many as {' or '.join(names)} has{shorter}"
    return Writer({})(n)


def _signed(k: int) -> str:
    return f"{k:+d}" if k else ""


def _shown(v: Variable | None, write: Writer, length: int = 60) -> str:
    """A variable outside the scan: its name or what it is computed from, and its type."""
    if v is None:
        return ""
    if isinstance(v, SharedVariable):
        value = v.get_value(borrow=True)
        kind = f"{value.dtype} {value.shape}" if hasattr(value, "shape") else "a generator"
        return f"{v} ({kind})"
    if v.owner is not None and v not in write.names:
        node = v.owner
        text = write._operation(node, v)[0]
        return text if len(text) <= length else f"{text[: length - 3]}..."
    if isinstance(v, Constant) or v in write.names:
        return write(v)
    ndim = getattr(v.type, "ndim", None)
    if ndim is None:
        return f"{v} ({v.type})"
    kind = ["a number", "a vector", "a matrix"][ndim] if ndim < 3 else f"{ndim} axes"
    return f"{v} ({kind}, {v.type.dtype})"
