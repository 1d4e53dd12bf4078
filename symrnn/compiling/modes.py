"""Two modes that start at once: `QUICK`, which compiles nothing, and `FAST`."""

from copy import copy
from functools import reduce
from typing import Any

import pytensor.tensor as pt
from pytensor.compile.builders import OpFromGraph
from pytensor.compile.mode import Mode, get_mode, optdb
from pytensor.graph.basic import Apply
from pytensor.graph.rewriting.basic import dfs_rewriter, node_rewriter
from pytensor.graph.rewriting.db import RewriteDatabaseQuery
from pytensor.link.vm import VMLinker
from pytensor.scalar.basic import Add, Mul, Second
from pytensor.scalar.math import Sigmoid, Softplus
from pytensor.scan.op import Scan
from pytensor.tensor.elemwise import Elemwise

QUICK = Mode(
    VMLinker(use_cloop=False, c_thunks=False),
    RewriteDatabaseQuery(
        include=["fast_compile", "py_only", "symrnn_quick"],
        exclude=["ShapeOpt", "local_shape_to_shape_i"],  # takes longest of all
    ),
)
"""A mode that compiles nothing: each operation is a call of NumPy, inside scans too.

(FAST_COMPILE calls the C compiler for the inside of each scan, for half a second or more.)
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
    return [pt.specify_shape(pt.alloc(b, *shape), node.outputs[0].type.shape)]


@node_rewriter([OpFromGraph])
def marked_inline(fgraph: Any, node: Apply[Any]) -> Any:
    """Have a graph in a node, such as a softmax, written out: by itself it would be compiled."""
    if node.op.is_inline:
        return False
    op = copy(node.op)
    op.is_inline = True
    return Apply(op, node.inputs, [v.type() for v in node.outputs]).outputs


@node_rewriter([Scan])
def quick_inside(fgraph: Any, node: Apply[Any]) -> Any:
    """Use mode QUICK inside a scan too, where a scan left to itself takes the C compiler."""
    op = node.op
    if op.mode is QUICK:
        return False
    quick = op.clone()
    quick.mode = QUICK
    return quick(*node.inputs, return_list=True)


# before the place (-0.01) where PyTensor writes out what is marked so
optdb.register("symrnn_inline", dfs_rewriter(marked_inline), "symrnn_quick", position=-0.015)
optdb.register("symrnn_sigmoid", dfs_rewriter(sigmoid_by_tanh), "symrnn_quick", position=0.5)
optdb.register("symrnn_softplus", dfs_rewriter(softplus_by_log1p), "symrnn_quick", position=0.5)
optdb.register("symrnn_fill", dfs_rewriter(fill_by_alloc), "symrnn_quick", position=0.6)
optdb.register("symrnn_two_at_a_time", dfs_rewriter(two_at_a_time), "symrnn_quick", position=199)
optdb.register("symrnn_quick_inside", dfs_rewriter(quick_inside), "symrnn_quick", position=200)

FAST = get_mode("FAST_COMPILE").including("symrnn_two_at_a_time")
"""FAST_COMPILE, with sums and products of more than two arrays taken two at a time.

NumPy has no product of three arrays, so FAST_COMPILE calls Python for each of their elements.
Normalisations have such products in their gradients, and train in this mode several times as fast.
"""
