"""Elementwise expressions in kernels: PyTensor's graph of ``c = f * c + i * g`` as vector code.

A processor works on 8 or 16 float32 numbers at once, if the code says so. `write_elementwise`
writes a loop over rows of numbers that loads a vector of each input, computes all expressions, and
stores the results; nothing goes through memory in between.
"""

from collections.abc import Callable, Sequence
from math import factorial, log
from typing import NamedTuple

import numpy as np
from llvmlite import ir
from pytensor.graph.basic import Constant, Variable
from pytensor.scalar import basic as scalar
from pytensor.scalar import math as scalar_math
from pytensor.tensor.basic import get_underlying_scalar_constant_value
from pytensor.tensor.elemwise import DimShuffle, Elemwise

from symrnn.kernels.machine import declare_c_function
from symrnn.kernels.writing import I1, I32, Array, Code, Int


class UnknownOperationError(Exception):
    """An operation that kernels cannot compute."""


class Rows(NamedTuple):
    """Where the numbers of one or several rows lie: the k-th begins k row lengths after the first.

    Parameters
    ----------
    variables
        Of PyTensor's graph: one for each row.
    array
        The first number.
    shared
        There is one number for the whole row.
    """

    variables: Sequence[Variable]
    array: Array
    shared: bool = False


class Total(NamedTuple):
    """A sum, or the like, of an expression's values, as a vector of several sums.

    Parameters
    ----------
    variable
        The expression.
    vector
        A variable of the kernel.
    combine
        How a value is added to it: one of `OPERATIONS`.
    """

    variable: Variable
    vector: ir.Value
    combine: Callable[..., ir.Value]

    def add(self, code: Code, values: ir.Value, mask: ir.Value | None) -> None:
        """Write the addition of a vector."""
        before = code.value(self.vector)
        after = self.combine(code, before, values)
        code.assign(self.vector, after if mask is None else code.select(mask, after, before))

    def result(self, code: Code) -> ir.Value:
        """Return the sum of the vector's numbers."""
        total, n = code.value(self.vector), code.W
        while n > 1:  # the second half is added to the first
            n //= 2
            order = [ir.Constant(I32, k % n + n) for k in range(code.W)]
            kind = ir.VectorType(I32, code.W)
            half = code.b.shuffle_vector(total, total, ir.Constant(kind, order))
            total = self.combine(code, total, half)
        return code.b.extract_element(total, ir.Constant(I32, 0))


def write_elementwise(
    code: Code,
    n: Int,
    inputs: Sequence[Rows],
    outputs: Sequence[Rows],
    totals: Sequence[Total] = (),
) -> None:
    """Write the loop that computes rows of n numbers from others, and totals of them.

    Raises
    ------
    UnknownOperationError
        If an expression contains an operation that is not in `OPERATIONS`.
    """
    ones = {
        v: _load(code, v, rows.array.pointer, None, shared=True)
        for rows in inputs
        if rows.shared
        for v in rows.variables
    }

    def compute(j: Int, mask: ir.Value | None) -> None:
        known = dict(ones)
        for rows in inputs:
            for k, v in enumerate(() if rows.shared else rows.variables):
                known[v] = _load(code, v, rows.array.at(n * k + j), mask)
        for rows in outputs:
            for k, v in enumerate(rows.variables):
                value, place = value_of(code, v, known), rows.array.at(n * k + j)
                if v.type.dtype == "bool":
                    code.store_booleans(value, place, mask)
                else:
                    code.store(value, place, mask)
        for total in totals:
            total.add(code, value_of(code, total.variable, known), mask)

    whole = n // code.W * code.W
    with code.loop(0, whole, code.W) as j:
        compute(j, None)
    with code.when(whole.compare("<", n)):
        compute(whole, code.first(n - whole))


def can_write(expressions: Sequence[Variable], given: Sequence[Variable]) -> bool:
    """Whether `write_elementwise` knows all operations of expressions of given variables."""
    code = Code(ir.Module("trial"), "trial", [], "float64")
    known = {
        v: ir.Constant(ir.VectorType(I1, code.W) if v.type.dtype == "bool" else code.vector, None)
        for v in given
    }
    try:
        for v in expressions:
            value_of(code, v, known)
    except UnknownOperationError:
        return False
    return True


def _load(
    code: Code, v: Variable, pointer: ir.Value, mask: ir.Value | None, *, shared: bool = False
) -> ir.Value:
    """A vector of the numbers, or the truth values, from a place on."""
    is_bool = v.type.dtype == "bool"
    if shared and is_bool:
        byte = code.b.load(code.b.bitcast(pointer, ir.IntType(8).as_pointer()))
        return code.splat(code.b.trunc(byte, I1))
    if shared:
        return code.splat(code.load_number(pointer))
    if is_bool:
        return code.load_booleans(pointer, mask)
    return code.load(pointer, mask)


def value_of(code: Code, v: Variable, known: dict[Variable, ir.Value]) -> ir.Value:
    """Write an expression; return the vector of its values.

    Parameters
    ----------
    known
        Vectors of the variables that are given, and of those already computed: it is added to.
    """
    if v not in known:
        known[v] = _value_of(code, v, known)
    return known[v]


def _value_of(code: Code, v: Variable, known: dict[Variable, ir.Value]) -> ir.Value:
    node = v.owner
    inner = node.inputs[0] if node is not None and isinstance(node.op, DimShuffle) else v
    if isinstance(inner, Constant) and np.size(inner.data) == 1:
        value = np.asarray(inner.data).item()
        return code.splat(value if isinstance(value, bool) else float(value))
    if inner is not v:
        return value_of(code, inner, known)
    kind = type(node.op.scalar_op) if node is not None and isinstance(node.op, Elemwise) else None
    dtype, is_bool = v.type.dtype, v.type.dtype == "bool"
    counts = kind is scalar.Cast and node.inputs[0].type.dtype == "bool"  # as 0 and 1, also int8
    operations = ON_BOOLEANS if is_bool else OPERATIONS
    if not (is_bool or counts or dtype in ("float32", "float64")):
        # the gradient of x**2 is 2 * x**(2 - 1), whose exponent is not computed yet
        number = get_underlying_scalar_constant_value(v, raise_not_constant=False)
        if isinstance(number, np.ndarray | np.generic):
            return code.splat(float(number))
        kind = None
    if kind not in operations:
        raise UnknownOperationError(f"{v} of {node and node.op}")
    operands = [value_of(code, operand, known) for operand in node.inputs]
    if not is_bool or kind in (*COMPARISONS, scalar.IsNan, scalar.IsInf):  # True is 1 among numbers
        first = 1 if kind is scalar.Switch else 0
        operands[first:] = [_as_number(code, x) for x in operands[first:]]
    if kind is scalar.Switch or (kind is scalar.Cast and is_bool):
        operands[0] = _as_boolean(code, operands[0])
    return operations[kind](code, *operands)


def _as_number(code: Code, x: ir.Value) -> ir.Value:
    return x if x.type == code.vector else code.b.uitofp(x, code.vector)


def _as_boolean(code: Code, x: ir.Value) -> ir.Value:
    return code.b.fcmp_unordered("!=", x, code.splat(0.0)) if x.type == code.vector else x


# Each operation as a function of the code and the operands, and of what it returns. NaN stays NaN.


def _chain(name: str) -> Callable[..., ir.Value]:
    def operation(code: Code, first: ir.Value, *others: ir.Value) -> ir.Value:
        for x in others:
            flags = ("contract",) if name.startswith("f") else ()
            first = getattr(code.b, name)(first, x, flags=flags)
        return first

    return operation


def _larger(code: Code, a: ir.Value, b: ir.Value, sign: str = ">=") -> ir.Value:
    is_a = code.b.or_(code.b.fcmp_ordered(sign, a, b), code.b.fcmp_unordered("uno", a, a))
    return code.b.select(is_a, a, b)


def _clip(code: Code, x: ir.Value, low: ir.Value, high: ir.Value) -> ir.Value:
    x = code.b.select(code.b.fcmp_ordered("<", x, low), low, x)
    return code.b.select(code.b.fcmp_ordered(">", x, high), high, x)


def _sign(code: Code, x: ir.Value) -> ir.Value:
    magnitude = code.intrinsic("copysign", code.splat(1.0), x)
    return code.b.select(code.b.fcmp_ordered("one", x, code.splat(0.0)), magnitude, x)


def _polynomial(code: Code, coefficients: Sequence[float], x: ir.Value) -> ir.Value:
    """Horner's scheme; the highest power comes first."""
    total = code.splat(coefficients[0])
    for a in coefficients[1:]:
        total = code.intrinsic("fmuladd", total, x, code.splat(a))
    return total


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


def _tanh(code: Code, x: ir.Value) -> ir.Value:
    """Write the hyperbolic tangent.

    For float32 a ratio of polynomials, accurate to 3e-7. For float64 ``m / (m + 2)`` with
    ``m = exp(2x) - 1``, which is computed by its series at ``x / 64`` and then by doubling the
    argument six times, ``exp(2y) - 1 = s (s + 2)`` with ``s = exp(y) - 1``; accurate to 1e-15.
    """
    if code.dtype == "float32":
        t = _clip(code, x, code.splat(-TANH_LIMIT), code.splat(TANH_LIMIT))
        s = code.b.fmul(t, t)
        above = code.b.fmul(t, _polynomial(code, TANH_P, s))
        return code.b.fdiv(above, _polynomial(code, TANH_Q, s))
    two = code.splat(2.0)
    t = code.b.fmul(_clip(code, x, code.splat(-20.0), code.splat(20.0)), code.splat(2 / 64))
    s = code.b.fmul(t, _polynomial(code, [1 / factorial(k) for k in range(9, 0, -1)], t))
    for _ in range(6):
        s = code.b.fmul(s, code.b.fadd(s, two))
    return code.b.fdiv(s, code.b.fadd(s, two))


def _sigmoid(code: Code, x: ir.Value) -> ir.Value:
    """``sigmoid(x) = 1/2 + 1/2 tanh(x / 2)``."""
    half = code.splat(0.5)
    return code.intrinsic("fmuladd", half, _tanh(code, code.b.fmul(half, x)), half)


def _exp(code: Code, x: ir.Value) -> ir.Value:
    """Write the exponential, accurate to one or two units in the last place.

    ``exp(x) = 2^n exp(r)`` with a whole number n and ``|r| <= log(2) / 2``; exp(r) by its series. A
    number added to ``3 * 2^22`` (or ``2^51``) is rounded, and its last bits are n. The factor 2^n
    comes in two, as it may be beyond what a number can be where the product is not.
    """
    single = code.dtype == "float32"
    bits, bias, lowest, highest, n_terms, splitter, high, low = (
        (23, 127, -104.0, 89.0, 7, 3 * 2.0**22, 0.693359375, -2.12194440e-4)
        if single
        else (52, 1023, -746.0, 710.0, 13, 3 * 2.0**51, 6.93145751953125e-1, 1.42860682030941723e-6)
    )
    is_nan = code.b.fcmp_unordered("uno", x, x)
    t = code.select(is_nan, code.splat(0.0), x)
    t = _clip(code, t, code.splat(lowest), code.splat(highest))
    kind = ir.VectorType(ir.IntType(32 if single else 64), code.W)

    def whole(value: int) -> ir.Constant:
        return ir.Constant(kind, [ir.Constant(kind.element, value)] * code.W)

    shifted = code.intrinsic("fmuladd", t, code.splat(1 / log(2)), code.splat(splitter))
    n = code.b.fsub(shifted, code.splat(splitter))
    r = code.intrinsic("fmuladd", n, code.splat(-high), t)
    r = code.intrinsic("fmuladd", n, code.splat(-low), r)
    series = _polynomial(code, [1 / factorial(k) for k in range(n_terms, -1, -1)], r)
    k = code.b.sub(code.b.bitcast(shifted, kind), code.b.bitcast(code.splat(splitter), kind))
    half = code.b.ashr(k, whole(1))
    for part in (half, code.b.sub(k, half)):
        power = code.b.shl(code.b.add(part, whole(bias)), whole(bits))
        series = code.b.fmul(series, code.b.bitcast(power, code.vector))
    return code.select(is_nan, x, series)


def _power(code: Code, x: ir.Value, exponent: ir.Value) -> ir.Value:
    """``x ** exponent``: that of the C library, but for the exponents 1 and 2."""
    known = exponent.constant if isinstance(exponent, ir.Constant) else None
    number = known[0].constant if isinstance(known, list) else None
    if number == 1.0:
        return x
    return code.b.fmul(x, x) if number == 2.0 else _by_c("pow")(code, x, exponent)


def _softplus(code: Code, x: ir.Value) -> ir.Value:
    """``softplus(x) = max(x, 0) + log(1 + exp(-|x|))``."""
    small = _exp(code, code.b.fneg(code.intrinsic("fabs", x)))
    return code.b.fadd(_larger(code, x, code.splat(0.0)), _by_c("log1p")(code, small))


def _by_c(name: str) -> Callable[..., ir.Value]:
    """An operation that calls the C library for one number after the other."""

    def operation(code: Code, *operands: ir.Value) -> ir.Value:
        function = name + ("f" if code.dtype == "float32" else "")
        declare_c_function(function)
        result = ir.Constant(code.vector, ir.Undefined)
        for k in range(code.W):
            at_k = ir.Constant(ir.IntType(32), k)
            numbers = [code.b.extract_element(x, at_k) for x in operands]
            value = code.call(function, *numbers, result=code.number)
            result = code.b.insert_element(result, value, at_k)
        return result

    return operation


COMPARISONS: dict[type, str] = {
    **{scalar.GT: ">", scalar.GE: ">=", scalar.LT: "<", scalar.LE: "<="},
    **{scalar.EQ: "==", scalar.NEQ: "!="},
}
OPERATIONS: dict[type, Callable[..., ir.Value]] = {
    scalar.Add: _chain("fadd"),
    scalar.Mul: _chain("fmul"),
    scalar.Sub: _chain("fsub"),
    scalar.TrueDiv: lambda code, a, b: code.b.fdiv(a, b),
    scalar.Reciprocal: lambda code, a: code.b.fdiv(code.splat(1.0), a),
    scalar.Neg: lambda code, a: code.b.fneg(a),
    scalar.Sqr: lambda code, a: code.b.fmul(a, a),
    scalar.Abs: lambda code, a: code.intrinsic("fabs", a),
    scalar.Sqrt: lambda code, a: code.intrinsic("sqrt", a),
    scalar.Sign: _sign,
    scalar.Maximum: _larger,
    scalar.Minimum: lambda code, a, b: _larger(code, a, b, "<="),
    scalar.Clip: _clip,
    scalar.Tanh: _tanh,
    scalar_math.Sigmoid: _sigmoid,
    scalar_math.Softplus: _softplus,
    scalar.Exp: _exp,
    scalar.Pow: _power,
    **{
        operation: _by_c(name)
        for operation, name in {
            **{scalar.Expm1: "expm1", scalar.Log: "log"},
            **{scalar.Log1p: "log1p", scalar.Sin: "sin", scalar.Cos: "cos", scalar.Tan: "tan"},
            **{scalar.ArcTan: "atan", scalar.Sinh: "sinh", scalar.Cosh: "cosh"},
            **{scalar_math.Erf: "erf"},
        }.items()
    },
    scalar.Switch: lambda code, condition, a, b: code.b.select(condition, a, b),
    scalar.Second: lambda code, a, b: b,
    scalar.Identity: lambda code, a: a,
    scalar.Cast: lambda code, a: a,
    scalar.Invert: lambda code, a: code.b.not_(a),
    scalar.IsInf: lambda code, a: code.b.fcmp_ordered(
        "==", code.intrinsic("fabs", a), code.splat(float("inf"))
    ),
    scalar.IsNan: lambda code, a: code.b.fcmp_unordered("uno", a, a),
    **{
        kind: lambda code, a, b, sign=sign: (
            code.b.fcmp_unordered if sign == "!=" else code.b.fcmp_ordered
        )(sign, a, b)
        for kind, sign in COMPARISONS.items()
    },
}
"""How each elementwise operation is written."""
ON_BOOLEANS: dict[type, Callable[..., ir.Value]] = {
    **{kind: _chain("or_") for kind in (scalar.Add, scalar.Maximum, scalar.OR)},
    **{kind: _chain("and_") for kind in (scalar.Mul, scalar.Minimum, scalar.AND)},
    **{
        kind: OPERATIONS[kind]
        for kind in (
            *(*COMPARISONS, scalar.IsNan, scalar.IsInf, scalar.Invert, scalar.Switch),
            *(scalar.Second, scalar.Identity, scalar.Cast),
        )
    },
}
"""How those are written whose result is a truth value."""

CHEAP = {
    *(scalar.Add, scalar.Mul, scalar.Sub, scalar.TrueDiv, scalar.Neg, scalar.Sqr, scalar.Abs),
    *(scalar.Sign, scalar.Maximum, scalar.Minimum, scalar.Clip, scalar.Switch),
    *(scalar.Second, scalar.Identity, scalar.Cast),
    *COMPARISONS,
    *(scalar.AND, scalar.OR, scalar.Invert, scalar.IsNan, scalar.IsInf),
}
"""Operations that are cheaper to repeat in the backward pass than to save for it."""

VECTORISED = {
    *CHEAP,
    *(scalar.Sqrt, scalar.Reciprocal, scalar.Exp, scalar.Tanh, scalar_math.Sigmoid),
}
"""Operations that are written for whole vectors, and do not call the C library."""
