"""Operations on single numbers, against PyTensor's own."""

import pickle

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.tensor.elemwise import Elemwise
from pytensor.tensor.shape import Shape, Shape_i

from symrnn.compiling.modes import QUICK
from symrnn.kernels.numbers import Numbers


def kinds(f):
    return [type(node.op) for node in f.maker.fgraph.apply_nodes]


def compare(inputs, outputs, *calls):
    ours = pytensor.function(inputs, outputs, mode=QUICK)
    others = pytensor.function(inputs, outputs, mode="FAST_COMPILE")
    for values in calls:
        for one, other in zip(ours(*values), others(*values), strict=True):
            assert one.dtype == other.dtype
            assert one.shape == other.shape == ()
            np.testing.assert_allclose(one, other, rtol=1e-6, equal_nan=True)
    return ours


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_expressions_of_numbers_are_one_node(dtype):
    a, b = pt.scalar("a", dtype=dtype), pt.scalar("b", dtype=dtype)
    n = pt.lscalar("n")
    outputs = [
        pt.sqrt(abs(a * b)) / (1 + b) - a + b + 1,
        pt.switch(pt.gt(a, b), a, -b) * pt.maximum(a, pt.exp(b)),
        (n + 1) * n - 3,
        pt.eq(n, 3) & pt.lt(a, b),
        (n + 2).astype(dtype) / a,
        pt.tanh(a) ** 2,
        1 - pt.constant(0.999, dtype="float64") ** (n + 1),
    ]
    numbers = [(1.5, -2.0, 3), (-1.0, 2.5, 0), (0.0, 0.0, -2), (np.nan, np.inf, 10**12)]
    values = [(np.array(x, dtype), np.array(y, dtype), k) for x, y, k in numbers]
    f = compare([a, b, n], outputs, *values)
    assert Elemwise not in kinds(f)


def test_dtypes_are_pytensors():
    a, k, n = pt.fscalar("a"), pt.bscalar("k"), pt.lscalar("n")
    outputs = [
        k + k,
        k * n,
        a * n,
        a * k,
        k / 3,
        n / k,
        n // 4,
        pt.sqrt(k),
        pt.neq(k, n),
        -k,
        a > k,
    ]
    values = [np.array(x, d) for x, d in ((0.3, "float32"), (100, "int8"), (7, "int64"))]
    compare([a, k, n], outputs, values)


def test_a_division_by_0_gives_no_warning():
    a = pt.dscalar("a")
    f = compare([a], [1 / a + 1, pt.log(a) * 2], [np.array(0.0)])
    assert Numbers in kinds(f)


def test_numbers_between_operations_on_arrays():
    x = pt.matrix("x")
    n = x.shape[0] * x.shape[1]
    y = x * (n + 1) / x.sum()
    outputs = [(y.sum() + n) / n, (y / (y.max() + x.shape[-1])).sum()]
    value = np.random.default_rng(1).normal(size=(3, 4))
    f = compare([x], outputs, [value])
    assert Shape not in kinds(f)
    assert Shape_i in kinds(f)


def test_a_pickled_function_computes_the_same():
    a, b = pt.dscalars("a", "b")
    f = pytensor.function([a, b], a * b + 1, mode=QUICK)
    assert f(2.0, 3.0) == 7
    assert pickle.loads(pickle.dumps(f))(2.0, 3.0) == 7


def test_results_are_arrays_of_their_own():
    a = pt.dscalar("a")
    f = pytensor.function([a], [a * 2 + 1, a * 2 + 2], mode=QUICK)
    first, second = f(1.0)
    first[...] = 9
    assert second == 4
    assert f(1.0)[0] == 3
    identity = pytensor.function([a], pt.switch(pt.gt(a, 0), a, -a), mode=QUICK)
    given = np.array(5.0)
    result = identity(given)
    result[...] = 7
    assert given == 5
