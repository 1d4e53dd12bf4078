"""Graphs as a reader wants them: plain scans, with the names of the code that built them."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pytensor.graph.basic import Apply, Variable
from pytensor.graph.replace import clone_replace, graph_replace
from pytensor.scan.op import Scan

from symrnn.explain.equations import in_order
from symrnn.kernels.recurrence import Recurrence

NAMES = (
    "symrnn_names"  # attribute of a Scan: names of its step's variables, and when they were made
)


@contextmanager
def local_names() -> Iterator[None]:
    """Give what a step computes the names of its local variables, while scans are built.

    PyTensor cannot know that a variable is called ``gate`` in Python. Within this context it is
    told, for functions that are called ``step`` or ``fn``; and equations come in the order in which
    the function made them. (From version 3.1 on PyTensor also
    forgets the names that were given by ``variable.name = ...`` inside a step; within this context
    they are kept.)

    Examples
    --------
    >>> import pytensor, pytensor.tensor as pt
    >>> from symrnn.explain import describe
    >>> def step(x_t, h):
    ...     gate = pt.sigmoid(x_t)
    ...     h = gate * h
    ...     return h
    >>> x, h0 = pt.vector("x"), pt.scalar("h0")
    >>> with local_names():
    ...     hs = pytensor.scan(step, sequences=[x], outputs_info=[h0], return_updates=False)
    >>> describe(hs).scans[0].equations
    ['gate = sigmoid(x[t])', 'h[t] = gate * h[t-1]']
    """
    scans: Any = sys.modules["pytensor.scan.basic"]
    before: Any = sys.getprofile()
    scan_before = scans.Scan

    def named_scan(inputs: Any, outputs: Any, *args: Any, **options: Any) -> Scan:
        op: Scan = scan_before(inputs, outputs, *args, **options)
        nodes = in_order(outputs, set(inputs))
        ages = [[getattr(v.tag, "age", None) for v in node.outputs] for node in nodes]
        names = [[v.name for v in node.outputs] for node in nodes]
        setattr(
            op, NAMES, [list(zip(*both, strict=True)) for both in zip(names, ages, strict=True)]
        )
        return op

    def name_locals(frame: Any, event: str, result: Any) -> None:
        if event != "return" or frame.f_code.co_name not in ("step", "fn"):
            return
        for name, value in frame.f_locals.items():
            parts = value if isinstance(value, tuple) else ()
            for v, own in [(value, name), *((p, f"{name}[{k}]") for k, p in enumerate(parts))]:
                if isinstance(v, Variable) and v.name is None and v.owner is not None:
                    v.name = own
        returned = result if isinstance(result, list | tuple) else [result]
        for node in in_order([v for v in returned if isinstance(v, Variable)]):
            for v in node.outputs:  # later PyTensor clones what the step has made
                v.tag.age = getattr(v.tag, "age", age(v))

    sys.setprofile(name_locals)
    scans.Scan = named_scan
    try:
        yield
    finally:
        scans.Scan = scan_before
        if before is None or callable(before):
            sys.setprofile(before)
        else:  # cProfile's profiler is no function and comes back in its own way
            sys.setprofile(None)
            before.enable()


def readable(variables: Sequence[Variable]) -> list[Variable]:
    """The variables with this library's fast recurrent layers written as plain scans."""
    plain: dict[Variable, Variable] = {}

    def with_plain(old: Sequence[Variable]) -> list[Variable]:
        return list(graph_replace(old, plain, strict=False)) if plain else list(old)

    for node in in_order(variables):
        if isinstance(node.op, Recurrence):
            with local_names():
                outputs = node.op.plain(with_plain(node.inputs))
            plain |= dict(zip(node.outputs, outputs, strict=False))
    return with_plain(variables)


def as_variables(given: Any) -> list[Variable]:
    """All variables in what a user gives: one, or what `pytensor.scan` returned in any style.

    Raises
    ------
    TypeError
        If there is something else.
    """
    if isinstance(given, Variable):
        return [given]
    if isinstance(given, list | tuple):
        return [v for part in given if not isinstance(part, dict) for v in as_variables(part)]
    raise TypeError(f"{given!r} is no variable: give what pytensor.scan returned")


def scans_behind(variables: Sequence[Variable]) -> list[Apply[Any]]:
    """The nodes of all scans that the variables depend on, the first to run first.

    Raises
    ------
    ValueError
        If there is none.
    """
    nodes = [node for node in in_order(variables) if isinstance(node.op, Scan)]
    if not nodes:
        names = ", ".join(str(v) for v in variables)
        raise ValueError(
            f"there is no scan behind {names}: give what pytensor.scan returned, or something "
            "computed from it (a scan of a single step, n_steps=1, is none: PyTensor leaves it "
            "out; nor is one inside an OpFromGraph looked for)"
        )
    return nodes


def inner_graph(op: Scan) -> tuple[list[Variable], list[Variable]]:
    """A copy of a scan's step: its inputs and outputs."""
    graph = op.fgraph.unfreeze() if hasattr(op.fgraph, "unfreeze") else op.fgraph
    inputs = [v.type() for v in graph.inputs]
    outputs = clone_replace(list(graph.outputs), dict(zip(graph.inputs, inputs, strict=True)))
    for node, own_names in zip(in_order(outputs, inputs), getattr(op, NAMES, ()), strict=False):
        for v, (name, made) in zip(node.outputs, own_names, strict=True):
            v.name = v.name or name
            v.tag.age = made
    return inputs, list(outputs)


def age(v: Variable) -> int:
    """Number of a variable in the order in which PyTensor made them."""
    return int((v.auto_name or "auto_0").removeprefix("auto_"))
