"""Keep the names of a step's local variables, which PyTensor forgets or never knew."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pytensor.graph.basic import Variable
from pytensor.graph.replace import clone_replace
from pytensor.scan.op import Scan

from symrnn.explain.graphs import age, in_order

NAMES = "symrnn_names"
"""Attribute of a Scan: names of its step's variables, and the order in which they were created."""


@contextmanager
def local_names() -> Iterator[None]:
    """Name what a step computes after its local variables, for scans built in this context.

    PyTensor cannot know that a variable is called ``gate`` in Python. In this context it is told
    so, for functions called ``step`` or ``fn``, and equations come in the order in which the
    function created them. (Since version 3.1 PyTensor also forgets names given inside a step by
    ``variable.name = ...``; in this context they are kept.)

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
        names = [[(v.name, getattr(v.tag, "age", None)) for v in node.outputs] for node in nodes]
        setattr(op, NAMES, names)
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
            for v in node.outputs:  # before PyTensor clones what the step has created
                v.tag.age = getattr(v.tag, "age", age(v))

    sys.setprofile(name_locals)
    scans.Scan = named_scan
    try:
        yield
    finally:
        scans.Scan = scan_before
        if before is None or callable(before):
            sys.setprofile(before)
        else:  # cProfile's profiler is not a function; this is how it is installed again
            sys.setprofile(None)
            before.enable()


def inner_graph(op: Scan) -> tuple[list[Variable], list[Variable]]:
    """Return the inputs and outputs of a copy of a scan's step, with the names that were kept."""
    graph = op.fgraph.unfreeze() if hasattr(op.fgraph, "unfreeze") else op.fgraph
    inputs = [v.type() for v in graph.inputs]
    outputs = clone_replace(list(graph.outputs), dict(zip(graph.inputs, inputs, strict=True)))
    for node, own_names in zip(in_order(outputs, inputs), getattr(op, NAMES, ()), strict=False):
        for v, (name, made) in zip(node.outputs, own_names, strict=True):
            v.name = v.name or name
            v.tag.age = made
    return inputs, list(outputs)
