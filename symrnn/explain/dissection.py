"""Take all scans of a graph apart: what enters a step, what it computes, and what it returns."""

from collections.abc import Mapping, Sequence
from typing import Any

from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.graph.traversal import ancestors
from pytensor.scan.op import Scan
from pytensor.scan.utils import ScanArgs

from symrnn.explain.anatomy import Anatomy, Argument
from symrnn.explain.equations import equations
from symrnn.explain.expressions import ExpressionPrinter
from symrnn.explain.graphs import in_order, scans_behind
from symrnn.explain.naming import inner_graph
from symrnn.explain.signature import UniqueNames, all_backwards, arguments_of, results_of
from symrnn.explain.slices import is_shape, part_of


def anatomies(variables: Sequence[Variable]) -> list[Anatomy]:
    """Take all scans behind the variables apart, the first to run first."""
    found: list[Anatomy] = []
    known: dict[Variable, str] = {}  # results of the scans so far, for those that use them
    uses = _uses(variables)
    for node in scans_behind(variables):
        found.append(_anatomy(node, uses, known, found))
        for r in found[-1].results:
            known[r.outer] = r.name.removesuffix("[t]")
    return found


def chosen_scan(scans: Sequence[Anatomy], which: int | str) -> Anatomy:
    """Return one of several scans, by its number or name."""
    if isinstance(which, str):
        names = [scan.name for scan in scans]
        if which not in names:
            raise ValueError(f"no scan is called {which!r}; their names are {names}")
        return scans[names.index(which)]
    if not -len(scans) <= which < len(scans):
        raise ValueError(f"there is no scan {which}: there are {len(scans)} behind this variable")
    return scans[which]


def _anatomy(
    node: Apply[Any],
    uses: dict[Variable, list[Variable]],
    known: Mapping[Variable, str],
    before: Sequence[Anatomy],
) -> Anatomy:
    """Take one scan apart; `before` are those that run before it."""
    op = node.op
    inner_inputs, inner_outputs = inner_graph(op)
    graphs = (node.inputs, node.outputs, inner_inputs, inner_outputs)
    # newer versions of PyTensor, which have frozen graphs, never clone
    as_is = {} if hasattr(op.fgraph, "unfreeze") else {"clone": False}
    args = ScanArgs(*graphs, op.info, **as_is)
    names, printer = UniqueNames(), ExpressionPrinter(known, brief=True)
    results = results_of(args, names, uses, _forward_scan(node, before))
    arguments = arguments_of(args, results, names, printer, before)
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
        backwards=all_backwards(args),
        truncate_gradient=None if op.truncate_gradient == -1 else op.truncate_gradient,
        until=conditions[0].removeprefix("stop = ") if conditions else None,
        equations=[line for line in lines if line not in conditions],
        node=node,
        inner_inputs=inner_inputs,
        inner_outputs=inner_outputs,
    )


def _forward_scan(node: Apply[Any], before: Sequence[Anatomy]) -> Anatomy | None:
    """The scan whose gradient this one computes: they share states or non-sequences."""
    direct, op = _scans_before(node), node.op
    series = {part_of(s)[0] for s in op.outer_seqs(node.inputs)}
    others = set(op.outer_non_seqs(node.inputs))

    def n_shared(scan: Anatomy) -> tuple[int, int]:
        own = scan.node.op.outer_non_seqs(scan.node.inputs)
        return len(series & set(scan.node.outputs)), len(others & set(own))

    candidates = [s for s in before if op.name == f"grad_of_{s.node.op.name}" and s.node in direct]
    return max(reversed(candidates), key=n_shared, default=None)


def _scans_before(node: Apply[Any]) -> set[Apply[Any]]:
    """The scans whose outputs a node uses, with no other scan in between."""
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


def _uses(variables: Sequence[Variable]) -> dict[Variable, list[Variable]]:
    """For each variable, what is computed from it; `variables` themselves count as used too."""
    uses: dict[Variable, list[Variable]] = {}
    for node in in_order(variables):
        for v in node.inputs:
            uses.setdefault(v, []).extend(node.outputs)
    for v in variables:
        uses.setdefault(v, []).append(v)
    return uses


def _n_steps(args: ScanArgs, arguments: Sequence[Argument]) -> str:
    """The number of steps in words."""
    n = args.n_steps
    if n.owner is None:
        return n.name or str(getattr(n, "data", n))
    if any(isinstance(i, Constant) for i in n.owner.inputs[:2]):
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
    return ExpressionPrinter({})(n)
