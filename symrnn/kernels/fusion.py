"""Loop fusion: all elementwise expressions of a cell's step in one loop, in mode NUMBA.

PyTensor compiles ``c = f * c + i * g`` and its neighbours as several loops over the same rows, and
numba computes tanh for one number at a time. `fuse` puts such expressions into one node of the
graph, `Fused`. Every mode but NUMBA replaces the node by the expressions and sees an ordinary
graph. For mode NUMBA `loop_source` writes one loop in Python, such as, for ``tanh(x0) * x1``, ::

    for j in range(n):
        v0 = x0[j]
        ...                    # v1 = tanh(v0), by polynomials
        y0[j] = v1 * x1[j]

The compiler vectorises it: the processor works on eight or sixteen numbers at a time.
"""

from collections.abc import Callable, Sequence
from functools import reduce
from hashlib import sha256
from math import factorial
from typing import Any

import numpy as np
from pytensor.compile.builders import OpFromGraph
from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.graph.op import Op
from pytensor.graph.rewriting.basic import node_rewriter
from pytensor.scalar import basic as scalar
from pytensor.scalar.math import Sigmoid
from pytensor.tensor.basic import Join
from pytensor.tensor.elemwise import DimShuffle, Elemwise
from pytensor.tensor.subtensor import Subtensor, get_idx_list
from pytensor.tensor.variable import TensorVariable

from symrnn.kernels.dispatch import compile_with_numba, numba_basic


class Fused(OpFromGraph):
    """Elementwise expressions of rows that belong together; see `fuse`."""

    def infer_shape(self, *arguments: Any) -> list[tuple[Any, ...]]:
        """All rows have one length: no need to look through the inner graph, as PyTensor would.

        `arguments` are ``(fgraph, node, shapes)`` or, in newer versions of PyTensor, the last two.
        """
        length = arguments[-1][0][-1]
        return [(*v.type.shape[:-1], length) for v in self.fgraph.outputs]


def fuse(
    inputs: Sequence[TensorVariable],
    outputs: Sequence[TensorVariable],
    values: Sequence[TensorVariable],
) -> list[TensorVariable]:
    """Return `outputs`, with `values` in the place of `inputs`, to be computed in one loop.

    Parameters
    ----------
    inputs
        Placeholders: rows ``(n,)``, all of one length, or matrices ``(n_rows, n)``, of which single
        rows ``matrix[k]`` are used.
    outputs
        Elementwise expressions of the rows, ``(n,)``, or `pytensor.tensor.stack` of several,
        ``(n_rows, n)``.
    values
        What the placeholders stand for.

    Examples
    --------
    >>> import numpy as np, pytensor, pytensor.tensor as pt
    >>> z, c = pt.matrix("z"), pt.vector("c")
    >>> outputs = [pt.tanh(z[0]) * c, pt.stack([z[0] + c, z[1] + c])]
    >>> first, second = pt.matrix("first"), pt.vector("second")
    >>> f = pytensor.function([first, second], fuse([z, c], outputs, [first, second]))
    >>> [y.tolist() for y in f(np.array([[0.0], [2.0]]), np.array([3.0]))]
    [[0.0], [[3.0], [5.0]]]
    """
    node = Fused(list(inputs), list(outputs), inline=True, name="fused").make_node(*values)
    return list(node.outputs)


class RowLoop(Op):
    """A `Fused` as one loop over the columns of its rows. It occurs in mode NUMBA only.

    Parameters
    ----------
    source
        Python source of the loop, from `loop_source`.
    types
        Those of the outputs.
    """

    __props__ = ("source", "types")

    def __init__(self, source: str, types: tuple[Any, ...]) -> None:
        self.source = source
        self.types = types

    def __str__(self) -> str:
        return "RowLoop"

    def make_node(self, *inputs: Variable) -> Apply[Any]:
        """Node with one output for each of `types`."""
        return Apply(self, list(inputs), [t() for t in self.types])

    def perform(self, *args: Any) -> None:
        """Not available: other modes compute the expressions themselves."""
        raise NotImplementedError("RowLoop runs in mode NUMBA only")


@node_rewriter([Fused])
def row_loop(fgraph: Any, node: Apply[Any]) -> Any:
    """Replace a `Fused` by a `RowLoop`, if each of its operations is known to `OPERATIONS`."""
    try:
        source = loop_source(node.op.fgraph.inputs, node.op.fgraph.outputs)
    except UnknownOperationError:
        return False
    compile_with_numba(RowLoop, funcify_row_loop)
    return RowLoop(source, tuple(o.type for o in node.outputs))(*node.inputs, return_list=True)


class UnknownOperationError(Exception):
    """An operation that `loop_source` cannot write in Python."""


OPERATIONS: dict[type, str] = {
    scalar.Add: " + ",
    scalar.Mul: " * ",
    scalar.Sub: " - ",
    scalar.TrueDiv: " / ",
    scalar.Neg: "-{0}",
    scalar.Sqr: "{0} * {0}",
    scalar.Abs: "abs({0})",
    scalar.Sign: "np.sign({0})",
    scalar.Maximum: "{0} if ({0} >= {1}) | ({0} != {0}) else {1}",
    scalar.Minimum: "{0} if ({0} <= {1}) | ({0} != {0}) else {1}",
    scalar.Clip: "{0} if {0} != {0} else min(max({0}, {1}), {2})",
    scalar.Pow: "{0} ** {1}",
    scalar.Exp: "np.exp({0})",
    scalar.Expm1: "np.expm1({0})",
    scalar.Sqrt: "np.sqrt({0})",
    scalar.Tanh: "np.tanh({0})",
    scalar.Switch: "{1} if {0} else {2}",
    scalar.GT: "{0} > {1}",
    scalar.GE: "{0} >= {1}",
    scalar.LT: "{0} < {1}",
    scalar.LE: "{0} <= {1}",
    scalar.EQ: "{0} == {1}",
    scalar.NEQ: "{0} != {1}",
    scalar.AND: "{0} & {1}",
    scalar.OR: "{0} | {1}",
    scalar.Invert: "not {0}",
    scalar.IsNan: "{0} != {0}",
    scalar.IsInf: "abs({0}) == np.inf",
    scalar.Second: "{1}",
    scalar.Identity: "{0}",
    scalar.Cast: "{0}",
}
"""What each elementwise operation is in Python; an operator stands for any number of operands.

NaN stays NaN. Logarithms are left to PyTensor, which rewrites ``log(sigmoid(x))`` and others to
forms that are numerically stable.
"""

BOOLEAN = {
    *(scalar.GT, scalar.GE, scalar.LT, scalar.LE, scalar.EQ, scalar.NEQ),
    *(scalar.AND, scalar.OR, scalar.Invert, scalar.IsNan, scalar.IsInf),
}

# tanh(x) = x P(x^2) / Q(x^2): the coefficients of P and Q in the Eigen library (as in
# MathFunctionsImpl.h), highest power first. Beyond the limit the value is 1 or -1.
TANH_LIMIT = 7.90531110763549805
TANH_P = (
    *(-2.76076847742355e-16, 2.00018790482477e-13, -8.60467152213735e-11, 5.12229709037114e-08),
    *(1.48572235717979e-05, 6.37261928875436e-04, 4.89352455891786e-03),
)
TANH_Q = (
    *(1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03),
)

CHEAP = {
    *(scalar.Add, scalar.Mul, scalar.Sub, scalar.TrueDiv, scalar.Neg, scalar.Sqr, scalar.Abs),
    *(scalar.Sign, scalar.Maximum, scalar.Minimum, scalar.Clip, scalar.Switch),
    *(scalar.Second, scalar.Identity, scalar.Cast),
    *BOOLEAN,
}
"""Operations that are cheaper to repeat in the backward pass than to save for it."""


def loop_source(inputs: Sequence[Variable], outputs: Sequence[Variable]) -> str:
    """Return the source of a Python function that computes `outputs` from `inputs` in one loop.

    Raises
    ------
    UnknownOperationError
        If the expressions contain an operation that is not in `OPERATIONS`.

    Examples
    --------
    >>> import pytensor.tensor as pt
    >>> x, y = pt.dvectors("x", "y")
    >>> print(loop_source([x, y], [pt.exp(x) + y]))
    def row_loop(x0, x1):
        n = x0.shape[0]
        x0 = np.ascontiguousarray(x0)
        x1 = np.ascontiguousarray(x1)
        y0 = np.empty(n, np.float64)
        for j in range(n):
            v0 = x0[j]
            v1 = np.exp(v0)
            v2 = x1[j]
            v3 = v1 + v2
            y0[j] = v3
        return y0
    <BLANKLINE>
    """
    names = {v: f"x{k}" for k, v in enumerate(inputs)}
    known: dict[Variable, str] = {}  # the local variable that holds a row's number at column j
    lines: list[str] = []  # the loop's body

    def value(v: Variable) -> str:
        if v not in known:
            text = _load(v, names) or _operation(v, value, lines)
            known[v] = f"v{len(known)}"
            lines.append(f"{known[v]} = {text}")
        return known[v]

    allocations = []
    for k, output in enumerate(outputs):
        rows = _stacked(output)
        size = f"({len(rows)}, n)" if rows else "n"
        allocations.append(f"y{k} = np.empty({size}, np.{output.type.dtype})")
        for row, v in enumerate(rows or [output]):
            text = value(v)
            lines.append(f"y{k}[{f'{row}, ' if rows else ''}j] = {text}")
    returned = ", ".join(f"y{k}" for k in range(len(outputs)))
    return "\n".join(
        [
            f"def row_loop({', '.join(names.values())}):",
            f"    n = x0.shape[{inputs[0].type.ndim - 1}]",
            *(f"    {x} = np.ascontiguousarray({x})" for v, x in names.items() if v.type.ndim == 1),
            *(f"    {line}" for line in allocations),
            "    for j in range(n):",
            *(f"        {line}" for line in lines),
            f"    return {returned}",
            "",
        ]
    )


def _load(v: Variable, names: dict[Variable, str]) -> str | None:
    """Source of an input row's or a constant's value; None if `v` is neither."""
    if v in names and v.type.ndim == 1:
        return f"{names[v]}[j]"
    node = v.owner
    if node is not None and isinstance(node.op, DimShuffle):
        v = node.inputs[0]
    if isinstance(v, Constant) and np.size(v.data) == 1:
        value = np.asarray(v.data).item()
        return f"np.{v.type.dtype}({value!r})" if np.isfinite(value) else None
    if node is not None and isinstance(node.op, Subtensor) and node.inputs[0] in names:
        index = get_idx_list(node.inputs, node.op.idx_list)
        if len(index) == 1 and isinstance(index[0], Constant | int):
            return f"{names[node.inputs[0]]}[{int(getattr(index[0], 'data', index[0]))}, j]"
    return None


def _operation(v: Variable, value: Callable[[Variable], str], lines: list[str]) -> str:
    """Source of one elementwise operation, computed in the dtype of its result."""
    op, dtype = v.owner.op if v.owner is not None else None, v.type.dtype
    if not isinstance(op, Elemwise) or type(op.scalar_op) not in {*OPERATIONS, Sigmoid}:
        raise UnknownOperationError(str(v))
    if not dtype.startswith("float") and (dtype != "bool" or type(op.scalar_op) not in BOOLEAN):
        raise UnknownOperationError(f"{v} of dtype {dtype}")
    text = OPERATIONS.get(type(op.scalar_op), "")
    takes_numbers = "{" not in text or isinstance(op.scalar_op, scalar.Cast)
    operands = []
    for operand in v.owner.inputs:
        name = value(operand)
        if (
            dtype.startswith("float")
            and operand.type.dtype != dtype
            and (takes_numbers or operand.type.dtype != "bool")
        ):
            name = f"np.{dtype}({name})"
        operands.append(name)
    if isinstance(op.scalar_op, Sigmoid):  # = 1/2 + 1/2 tanh(x / 2)
        half = f"np.{dtype}(0.5)"
        return f"{half} + {half} * {_tanh(f'{half} * {operands[0]}', dtype, lines)}"
    if isinstance(op.scalar_op, scalar.Tanh):
        return _tanh(operands[0], dtype, lines)
    return text.format(*operands) if "{" in text else text.join(operands)


def _tanh(x: str, dtype: str, lines: list[str]) -> str:
    """Source of a tanh that vectorises.

    For float32 a ratio of polynomials, accurate to 3e-7. For float64 ``m / (m + 2)`` with
    ``m = exp(2x) - 1``, which is computed by its series at ``x / 64`` and then by doubling the
    argument six times, ``exp(2y) - 1 = s (s + 2)`` with ``s = exp(y) - 1``; accurate to 1e-15.
    """
    if dtype == "float64":
        series = reduce(
            lambda sum_, k: f"({sum_}) * t + {1 / factorial(k)!r}",
            range(8, 0, -1),
            repr(1 / factorial(9)),
        )
        lines.append(f"t = min(max({x}, -20.0), 20.0) * {2 / 64}")
        lines.append(f"s = t * ({series})")
        lines.extend(["s = s * (s + 2.0)"] * 6)
        return "(s / (s + 2.0))"
    if dtype != "float32":
        return f"np.tanh({x})"
    limit = f"np.float32({TANH_LIMIT})"
    lines.append(f"t = min(max({x}, -{limit}), {limit})")
    lines.append("s = t * t")
    p, q = (
        reduce(lambda sum_, a: f"({sum_}) * s + np.float32({a})", rest, f"np.float32({first})")
        for first, *rest in (TANH_P, TANH_Q)
    )
    return f"(t * ({p}) / ({q}))"


def _stacked(v: Variable) -> list[Variable]:
    """The rows of a stack; none if `v` is a single row."""
    if v.type.ndim != 2:
        return []
    rows = v.owner.inputs if isinstance(v.owner.op, Join) else [v]
    # in some versions of PyTensor the axis is an input too
    return [row.owner.inputs[0] for row in rows if row.type.ndim == 2]


def funcify_row_loop(op: RowLoop, **kwargs: Any) -> tuple[Any, str]:
    """Return a `RowLoop` as a function compiled by numba, and the key of its code on disk."""
    names = {"np": np}
    exec(op.source, names)
    # error_model: dividing by 0 gives inf, not an exception, which would prevent vectorising
    function = numba_basic().numba_njit(names["row_loop"], error_model="numpy", boundscheck=False)
    return function, sha256(f"symrnn.kernels.fusion 1: {op.source}".encode()).hexdigest()
