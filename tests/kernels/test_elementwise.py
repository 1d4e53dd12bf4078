"""Elementwise expressions in kernels, against NumPy, also for numbers that are not finite."""

import numpy as np
import pytensor.tensor as pt
import pytest
import scipy.special
from borders import NEVER, Bordered
from llvmlite import ir
from pytensor.scalar import basic as scalar
from pytensor.scalar import math as scalar_math
from pytensor.tensor.elemwise import Elemwise

from symrnn.kernels.elementwise import (
    CHEAP,
    ON_BOOLEANS,
    OPERATIONS,
    VECTORISED,
    Rows,
    UnknownOperationError,
    can_write,
    write_elementwise,
)
from symrnn.kernels.machine import load_kernel
from symrnn.kernels.writing import I8, JOB, Array, Code

DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])
ONE_OPERAND = {
    scalar.Reciprocal: lambda x: 1 / x,
    scalar.Neg: np.negative,
    scalar.Sqr: np.square,
    scalar.Abs: np.abs,
    scalar.Sqrt: np.sqrt,
    scalar.Sign: np.sign,
    scalar.Tanh: np.tanh,
    scalar_math.Sigmoid: lambda x: 1 / (1 + np.exp(-x)),
    scalar_math.Softplus: lambda x: np.logaddexp(x, 0),
    scalar.Exp: np.exp,
    scalar.Expm1: np.expm1,
    scalar.Log: np.log,
    scalar.Log1p: np.log1p,
    scalar.Sin: np.sin,
    scalar.Cos: np.cos,
    scalar.Tan: np.tan,
    scalar.ArcTan: np.arctan,
    scalar.Sinh: np.sinh,
    scalar.Cosh: np.cosh,
    scalar_math.Erf: scipy.special.erf,
    scalar.Identity: np.positive,
    scalar.IsInf: np.isinf,
    scalar.IsNan: np.isnan,
}
TWO_OPERANDS = {
    scalar.Add: np.add,
    scalar.Mul: np.multiply,
    scalar.Sub: np.subtract,
    scalar.TrueDiv: np.divide,
    scalar.Maximum: np.maximum,
    scalar.Minimum: np.minimum,
    scalar.Pow: np.power,
    scalar.Second: lambda x, y: y,
    scalar.GT: np.greater,
    scalar.GE: np.greater_equal,
    scalar.LT: np.less,
    scalar.LE: np.less_equal,
    scalar.EQ: np.equal,
    scalar.NEQ: np.not_equal,
}
MADE_OTHERWISE = {scalar.Clip, scalar.Switch, scalar.Cast, scalar.Invert}
INEXACT = {
    *(scalar.Tanh, scalar_math.Sigmoid, scalar_math.Softplus, scalar.Exp, scalar.Expm1),
    *(scalar.Log, scalar.Log1p, scalar.Sin, scalar.Cos, scalar.Tan, scalar.ArcTan),
    *(scalar.Sinh, scalar.Cosh, scalar_math.Erf, scalar.Pow),
}
ABSOLUTE_ERROR = {"float32": 3e-7, "float64": 2e-15}
RELATIVE_ERROR = {"float32": 1e-6, "float64": 1e-14}


def special_values(dtype):
    info = np.finfo(dtype)
    positive = [0.0, info.smallest_subnormal, info.tiny, 1e-8, 0.5, 1, 1.5, 2, 8, 20, 88, 104]
    positive += [info.max / 2, info.max, np.inf]
    rng = np.random.default_rng(0)
    return np.array([np.nan, *positive, *np.negative(positive), *rng.normal(size=9) * 3], dtype)


def operation(kind):
    """A scalar operation as one of arrays."""
    instances = (v for module in (scalar, scalar_math) for v in vars(module).values())
    return Elemwise(next(v for v in instances if type(v) is kind))


def computed(dtype, variables, values, results, *, shared=()):
    """The results by a kernel: each row of numbers lies within borders that must stay as they are.

    Of `shared` variables, only the first number is given.
    """
    module = ir.Module("elementwise")
    code = Code(module, "kernel", [JOB], dtype)
    (job,) = code.arguments

    def rows(k, v):
        kind = I8 if v.type.dtype == "bool" else None
        array = Array(code, code.pointer(code.given(job, k), kind))
        return Rows([v], array, v in shared)

    all_rows = [rows(k, v) for k, v in enumerate([*variables, *results], 1)]
    n = len(variables)
    write_elementwise(code, code.given(job, 0), all_rows[:n], all_rows[n:])
    code.end()
    given = [Bordered(x[:1] if v in shared else x) for v, x in zip(variables, values, strict=True)]
    length = max(len(x) for x in values)
    out = [Bordered(np.full(length, NEVER, dtype), NEVER) for _ in results]
    out = [
        Bordered(np.ones(length, bool)) if v.type.dtype == "bool" else o
        for o, v in zip(out, results, strict=True)
    ]
    numbers = [length, *(a.address for a in (*given, *out))]
    load_kernel(str(module))[1](np.array(numbers, np.int64).ctypes.data)
    assert all(a.is_intact() for a in (*given, *out))
    return [a.array for a in out]


def assert_equal(got, expected, kind, dtype):
    assert got.dtype == expected.dtype, kind
    if kind not in INEXACT:
        np.testing.assert_array_equal(got, expected, err_msg=kind.__name__)
        return
    tiny = np.finfo(dtype).smallest_subnormal
    atol = ABSOLUTE_ERROR[dtype] if kind in (scalar.Tanh, scalar_math.Sigmoid) else tiny
    np.testing.assert_allclose(
        got, expected, rtol=RELATIVE_ERROR[dtype], atol=atol, err_msg=kind.__name__
    )


def test_every_operation_is_tested():
    assert {*ONE_OPERAND, *TWO_OPERANDS, *MADE_OTHERWISE} == set(OPERATIONS)
    assert {*CHEAP, *VECTORISED} <= {*OPERATIONS, *ON_BOOLEANS}
    assert set(ON_BOOLEANS) - set(OPERATIONS) == {scalar.AND, scalar.OR}


@DTYPES
def test_operations_of_one_number_equal_numpy(dtype):
    x = pt.tensor("x", dtype=dtype, shape=(None,))
    value = special_values(dtype)
    results = computed(dtype, [x], [value], [operation(kind)(x) for kind in ONE_OPERAND])
    for got, (kind, f) in zip(results, ONE_OPERAND.items(), strict=True):
        with np.errstate(all="ignore"):
            expected = f(value.astype("float64")).astype(got.dtype) if kind in INEXACT else f(value)
        assert_equal(got, expected, kind, dtype)


@DTYPES
def test_operations_of_two_numbers_equal_numpy(dtype):
    x, y = (pt.tensor(name, dtype=dtype, shape=(None,)) for name in "xy")
    a, b = (g.ravel() for g in np.meshgrid(special_values(dtype), special_values(dtype)))
    results = computed(dtype, [x, y], [a, b], [operation(kind)(x, y) for kind in TWO_OPERANDS])
    for got, (kind, f) in zip(results, TWO_OPERANDS.items(), strict=True):
        with np.errstate(all="ignore"):
            assert_equal(got, f(a, b), kind, dtype)


@DTYPES
def test_choices_and_truth_values_equal_numpy(dtype):
    x, y = (pt.tensor(name, dtype=dtype, shape=(None,)) for name in "xy")
    p, q = (pt.tensor(name, dtype="bool", shape=(None,)) for name in "pq")
    a, b = (g.ravel() for g in np.meshgrid(special_values(dtype), special_values(dtype)))
    t, u = np.arange(len(a)) % 2 == 0, np.arange(len(a)) % 3 == 0
    with np.errstate(all="ignore"):
        cases = [
            (pt.clip(x, -0.5, 1.5), np.clip(a, dtype_of(dtype, -0.5), dtype_of(dtype, 1.5))),
            (pt.switch(p, x, y), np.where(t, a, b)),
            (pt.switch(p, x, 2.5), np.where(t, a, dtype_of(dtype, 2.5))),
            (pt.switch(x > y, x, y), np.where(a > b, a, b)),
            (pt.switch(x, y, 1.0), np.where(a != 0, b, dtype_of(dtype, 1))),
            (pt.switch(p, q, x > 0), np.where(t, u, a > 0)),
            (p * x, t * a),
            (p + x, t + a),
            (pt.cast(p, dtype) - q, t.astype(dtype) - u),
            (pt.cast(p, "int8") * x, t * a),
            (pt.cast(x, "bool"), a != 0),
            (pt.switch(pt.cast(x, "bool"), y, x), np.where(a != 0, b, a)),
            (p & q, t & u),
            (p | q, t | u),
            (~p, ~t),
            (p + q, t + u),
            (p + q + (x > 0), t + u + (a > 0)),
            (p * q * (x > 0), t * u * (a > 0)),
            (pt.maximum(p, q), np.maximum(t, u)),
            (pt.minimum(p, q), np.minimum(t, u)),
            (pt.eq(p, q), t == u),
            (pt.lt(p, q), t < u),
            (pt.gt(p, x), t > a),
            (pt.second(x, p), t),
        ]
    results = computed(dtype, [x, y, p, q], [a, b, t, u], [v for v, _ in cases])
    for got, (v, expected) in zip(results, cases, strict=True):
        assert got.dtype == expected.dtype, str(v)
        np.testing.assert_array_equal(got, expected, err_msg=str(v))


def dtype_of(dtype, number):
    return np.array(number, dtype)


@DTYPES
def test_signs_of_zero_are_kept(dtype):
    x, y = (pt.tensor(name, dtype=dtype, shape=(None,)) for name in "xy")
    value = np.array([0.0, -0.0, 1.0, -1.0], dtype)
    results = [-x, abs(x), x * y, pt.sqrt(abs(x)), pt.switch(x > 5, y, x), x / y, pt.tanh(x)]
    got = computed(dtype, [x, y], [value, np.ones(4, dtype)], results)
    one = np.signbit(value)
    expected = [~one, 0 * one, one, 0 * one, one, one, one]
    for v, a, b in zip(results, got, expected, strict=True):
        np.testing.assert_array_equal(np.signbit(a), b.astype(bool), err_msg=str(v))


@DTYPES
def test_rows_of_any_length_are_computed_and_nothing_beyond_them(dtype):
    x, y = (pt.tensor(name, dtype=dtype, shape=(None,)) for name in "xy")
    p = pt.tensor("p", dtype="bool", shape=(None,))
    W = Code(ir.Module("m"), "f", [], dtype).W
    rng = np.random.default_rng(0)
    for n in (0, 1, 2, W - 1, W, W + 1, 2 * W, 3 * W + 2):
        a, b, t = rng.normal(size=n), rng.normal(size=max(n, 1)), rng.normal(size=n) > 0
        a, b = a.astype(dtype), b.astype(dtype)
        results = [pt.switch(p, x * y, x - y), x > y]
        got = computed(dtype, [x, y, p], [a, b[:n], t], results)
        np.testing.assert_array_equal(got[0], np.where(t, a * b[:n], a - b[:n]))
        np.testing.assert_array_equal(got[1], a > b[:n])
        if n:
            got = computed(dtype, [x, y, p], [a, b, t], results, shared=(y, p))
            np.testing.assert_array_equal(got[0], a * b[0] if t[0] else a - b[0])
            np.testing.assert_array_equal(got[1], a > b[0])


def test_several_rows_lie_one_after_the_other():
    module, (x, y) = ir.Module("rows"), pt.dvectors("xy")
    code = Code(module, "kernel", [JOB], "float64")
    (job,) = code.arguments
    given, out = (Array(code, code.pointer(code.given(job, k))) for k in (1, 2))
    write_elementwise(code, code.given(job, 0), [Rows([x, y], given)], [Rows([x + y, x - y], out)])
    code.end()
    value = Bordered(np.arange(22.0).reshape(2, 11))
    result = Bordered(np.full((2, 11), NEVER), NEVER)
    load_kernel(str(module))[1](np.array([11, value.address, result.address]).ctypes.data)
    assert value.is_intact()
    assert result.is_intact()
    a, b = value.array
    np.testing.assert_array_equal(result.array, [a + b, a - b])


def errors(dtype, kind, value, f):
    """Absolute and relative errors of an operation."""
    x = pt.tensor("x", dtype=dtype, shape=(None,))
    (got,) = computed(dtype, [x], [value], [operation(kind)(x)])
    with np.errstate(all="ignore"):
        exact = f(value.astype("longdouble"))
        return np.abs(got - exact), np.abs((got - exact) / exact)


def test_tanh_and_sigmoid_in_float32_have_the_error_that_is_stated():
    value = np.concatenate([np.linspace(-30, 30, 200_001), [0.0, 1e-20, -1e-30]]).astype("float32")
    assert errors("float32", scalar.Tanh, value, np.tanh)[0].max() < 3e-7
    assert (
        errors("float32", scalar_math.Sigmoid, value, lambda x: 1 / (1 + np.exp(-x)))[0].max()
        < 3e-7
    )


def test_tanh_and_sigmoid_in_float64_are_accurate_to_the_last_digits():
    value = np.concatenate([np.linspace(-25, 25, 100_001), [1e-300, -1e-8, 1e-3, 700, -700]])
    assert np.nanmax(errors("float64", scalar.Tanh, value, np.tanh)[1]) < 2e-15
    assert (
        errors("float64", scalar_math.Sigmoid, value, lambda x: 1 / (1 + np.exp(-x)))[0].max()
        < 1e-15
    )


@pytest.mark.parametrize(
    ("dtype", "lowest", "highest"), [("float32", -87, 88), ("float64", -708, 709)]
)
def test_exp_is_accurate_to_two_units_in_the_last_place(dtype, lowest, highest):
    value = np.concatenate([np.linspace(lowest, highest, 200_001), np.linspace(-1, 1, 20_001)])
    relative = errors(dtype, scalar.Exp, value.astype(dtype), np.exp)[1]
    assert relative.max() < 2 * np.finfo(dtype).eps


def test_operations_that_kernels_cannot_compute_are_told_beforehand():
    x, p = pt.dvector("x"), pt.vector("p", dtype="bool")
    unknown = [
        *(pt.erfinv(x), pt.gammaln(x), pt.floor(x), pt.arctan2(x, x), x % 2),
        *(pt.cast(x, "int8") / 2, pt.cast(pt.cast(x * 4, "int8"), "float64"), p ^ p, x.sum() + x),
    ]
    for v in unknown:
        assert not can_write([v], [x, p]), str(v)
        with pytest.raises(UnknownOperationError):
            computed("float64", [x, p], [np.ones(3), np.ones(3, bool)], [v])
    assert can_write([pt.exp(x) + x**3, pt.switch(p, x, 0)], [x, p])


@DTYPES
def test_powers_whose_exponent_is_computed_from_constants_equal_numpy(dtype):
    x = pt.tensor("x", dtype=dtype, shape=(None,))
    value = special_values(dtype)
    results = [x**k for k in (1, 2, 3, 0, -1, 0.5)]
    results += [x ** (pt.constant(k, dtype="int8") - pt.constant(1, dtype="int8")) for k in (2, 3)]
    got = computed(dtype, [x], [value], results)
    for y, k in zip(got, (1, 2, 3, 0, -1, 0.5, 1, 2), strict=True):
        with np.errstate(all="ignore"):
            exponent = np.full(value.shape, float(k))  # for one number, NumPy takes a short cut
            expected = np.power(value.astype("float64"), exponent).astype(dtype)
        np.testing.assert_allclose(y, expected, rtol=RELATIVE_ERROR[dtype], err_msg=str(k))
