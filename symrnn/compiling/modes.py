"""The default mode, `QUICK`, which starts within seconds.

A mode of PyTensor is a set of rewrites, which improve the graph, and a linker, which makes a
function of it. Without a compiler each operation is one call of NumPy, which is quick where NumPy
has a function for it. Where it has none, PyTensor calls Python for every single number of an array.
So the rewrites of this file replace such operations by those that NumPy has.
"""

from functools import reduce
from typing import Any

import pytensor.tensor as pt
from pytensor.compile.builders import OpFromGraph
from pytensor.compile.mode import Mode, optdb
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.rewriting.basic import MergeOptimizer, dfs_rewriter, node_rewriter
from pytensor.graph.rewriting.db import RewriteDatabaseQuery
from pytensor.link.vm import VMLinker
from pytensor.scalar.basic import Add, Mul, Pow, Second
from pytensor.scalar.math import Sigmoid, Softplus
from pytensor.scan.op import Scan
from pytensor.tensor.basic import get_underlying_scalar_constant_value
from pytensor.tensor.elemwise import Elemwise

from symrnn.compiling.shapes import of_shape

TAKE_LONG = (
    # find out all shapes, which takes longest of all
    *("ShapeOpt", "local_shape_to_shape_i"),
    # look for products that linear algebra knows shorter, such as with a diagonal matrix
    *("dot_diag_to_elemwise", "orthogonal_dot_transpose_to_eye", "selection_dot_to_indexing"),
    "useless_symmetric_transpose",
    # bring sums and products into a normal form, for rewrites of which this mode has few
    *("local_mul_canonizer", "local_add_canonizer", "local_greedy_distributor", "local_mul_zero"),
)
"""Rewrites of PyTensor that mode QUICK leaves out: they take seconds and save next to nothing."""

QUICK = Mode(
    VMLinker(use_cloop=False, c_thunks=False),
    RewriteDatabaseQuery(
        include=["fast_compile", "py_only", "symrnn_quick"],
        exclude=TAKE_LONG,
    ),
)
"""Each operation is a call of NumPy, inside scans too, or of a recurrent loop's own kernel.

PyTensor compiles nothing. FAST_COMPILE, in contrast, calls the C compiler for the step of each
scan, which takes half a second or more.
"""


@node_rewriter([Elemwise])
def sigmoid_by_tanh(fgraph: Any, node: Apply[Any]) -> Any:
    """``sigmoid(x) = 1/2 + 1/2 tanh(x / 2)``: NumPy has a tanh."""
    if not isinstance(node.op.scalar_op, Sigmoid):
        return False
    half = pt.constant(0.5, dtype=node.outputs[0].dtype)
    return [half + half * pt.tanh(half * node.inputs[0])]


@node_rewriter([Elemwise])
def softplus_by_log1p(fgraph: Any, node: Apply[Any]) -> Any:
    """``softplus(x) = max(x, 0) + log(1 + exp(-|x|))``: NumPy has no softplus."""
    if not isinstance(node.op.scalar_op, Softplus):
        return False
    (x,) = node.inputs
    return [pt.maximum(x, 0) + pt.log1p(pt.exp(-abs(x)))]


@node_rewriter([Elemwise])
def two_at_a_time(fgraph: Any, node: Apply[Any]) -> Any:
    """``a * b * c`` as ``(a * b) * c``: NumPy multiplies and adds two arrays at once, not three."""
    if not isinstance(node.op.scalar_op, Add | Mul) or len(node.inputs) < 3:
        return False
    return [reduce(node.op, node.inputs)]


@node_rewriter([Elemwise])
def fill_by_alloc(fgraph: Any, node: Apply[Any]) -> Any:
    """``fill(a, b)``, b in the shape of both, as a new array: NumPy has no function for it.

    Gradients are full of it, and would call Python for each element.
    """
    if not isinstance(node.op.scalar_op, Second):
        return False
    a, b = node.inputs
    ones = a.type.broadcastable
    shape = [b.shape[k] if ones[k] else a.shape[k] for k in range(a.ndim)]
    full = of_shape(lambda sizes: pt.alloc(b, *sizes), shape)
    return [pt.specify_shape(full, node.outputs[0].type.shape)]


@node_rewriter([Elemwise])
def simpler_power(fgraph: Any, node: Apply[Any]) -> Any:
    """``x ** 2`` as a square: NumPy computes powers by logarithms if the exponent is an array."""
    if not isinstance(node.op.scalar_op, Pow):
        return False
    x, exponent = node.inputs
    if _constant(exponent) != 2.0:
        return False
    square = pt.sqr(x)
    return [square] if square.type == node.outputs[0].type else False


def _constant(v: Any) -> float | None:
    """The value of a constant that is one number."""
    value = get_underlying_scalar_constant_value(
        v, elemwise=False, max_recur=3, raise_not_constant=False
    )
    return None if isinstance(value, Variable) else float(value)


@node_rewriter([OpFromGraph])
def inline(fgraph: Any, node: Apply[Any]) -> Any:
    """Replace a node that holds a graph, such as a softmax, by the graph: it would be compiled."""
    # in PyTensor 3.3 the graph within an operation is always a frozen one
    frozen = getattr(node.op, "_frozen_fgraph", node.op.fgraph)
    return frozen.bind(dict(zip(frozen.inputs, node.inputs, strict=True)))


@node_rewriter([Scan])
def quick_inside(fgraph: Any, node: Apply[Any]) -> Any:
    """Compile the step of a scan in mode QUICK too: left alone, a scan calls the C compiler."""
    op = node.op
    if op.mode is QUICK:
        return False
    quick = op.clone()
    quick.mode = QUICK
    return quick(*node.inputs, return_list=True)


# At 1.5, "stabilize", PyTensor 3.3 recognises ``exp(x) / sum(exp(x))`` and the like, and makes them
# a softmax again: inlining comes after it.
_REWRITES = {
    "inline": (1.55, dfs_rewriter(inline, ignore_newtrees=False)),
    "merge": (1.56, MergeOptimizer()),  # a softmax and its logarithm have much in common
    "sigmoid": (1.6, dfs_rewriter(sigmoid_by_tanh)),
    "softplus": (1.6, dfs_rewriter(softplus_by_log1p)),
    "fill": (1.6, dfs_rewriter(fill_by_alloc)),
    "power": (1.6, dfs_rewriter(simpler_power)),
    "two_at_a_time": (48.75, dfs_rewriter(two_at_a_time)),
    "inside": (200, dfs_rewriter(quick_inside)),
}
for _name, (_position, _rewrite) in _REWRITES.items():
    optdb.register(f"symrnn_quick_{_name}", _rewrite, "symrnn_quick", position=_position)


def as_mode(mode: Any) -> Any:
    """Return what `pytensor.function` takes for a mode: None and ``"QUICK"`` are `QUICK`."""
    return QUICK if mode in (None, "QUICK") else mode
