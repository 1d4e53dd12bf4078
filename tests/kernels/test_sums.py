"""Sums of columns against NumPy."""

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from borders import NEVER, Bordered

from symrnn.compiling.modes import QUICK
from symrnn.kernels import sums
from symrnn.kernels.machine import VECTOR_BYTES
from symrnn.kernels.sums import (
    ROWS_AT_A_TIME,
    SUM_JOB,
    VECTORS,
    ColumnSum,
    call_sum,
    column_sum,
)

W = VECTOR_BYTES // 4
WIDTH = VECTORS * W


def by_kernel(x, threads=1):
    """The kernel's result, for an array within borders of NaN."""
    given, out = Bordered(x), Bordered(np.full(x.shape[1], np.nan, x.dtype), NEVER)
    values = {"n_threads": threads, "rows": len(x), "columns": x.shape[1], "x_row": x.shape[1]}
    values |= {"x": given.address, "out": out.address}
    job = np.array([values[name] for name in SUM_JOB], np.int64)
    call_sum(str(x.dtype))(job.ctypes.data)
    assert given.is_intact()
    assert out.is_intact()
    return out.array


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums_of_all_sizes_equal_numpy(dtype):
    rng = np.random.default_rng(0)
    for rows in (1, 2, ROWS_AT_A_TIME - 1, ROWS_AT_A_TIME, ROWS_AT_A_TIME + 1, 200):
        for columns in (1, W - 1, W, W + 1, WIDTH - 1, WIDTH, WIDTH + 1, 3 * WIDTH + 5):
            x = rng.normal(size=(rows, columns)).astype(dtype)
            atol = 1e-4 if dtype == "float32" else 1e-12
            expected = x.astype("float64").sum(0)
            np.testing.assert_allclose(by_kernel(x), expected, rtol=0, atol=atol)


def test_rounding_errors_stay_small_over_many_rows():
    x = np.full((100_000, 3), 0.1, "float32")
    exact = x.astype("float64").sum(0)
    np.testing.assert_allclose(by_kernel(x), exact, rtol=2e-5)


def test_the_result_does_not_depend_on_the_number_of_threads():
    x = np.random.default_rng(1).normal(size=(3000, 700)).astype("float32")
    assert len({by_kernel(x, threads).tobytes() for threads in (1, 2, 3)}) == 1


@pytest.mark.parametrize(
    "layout",
    [
        np.asfortranarray,
        lambda x: np.repeat(x, 2, axis=1)[:, ::2],
        lambda x: np.repeat(x, 2, axis=0)[::2],
        lambda x: np.ascontiguousarray(x[::-1])[::-1],
        lambda x: np.pad(x, 3, constant_values=np.nan)[3:-3, 3:-3],
        lambda x: np.broadcast_to(x[0], x.shape),
    ],
)
def test_sums_take_any_memory_layout(layout, monkeypatch):
    monkeypatch.setattr(sums, "FEW", 0)
    x = layout(np.random.default_rng(2).normal(size=(70, 37)).astype("float32"))
    np.testing.assert_allclose(column_sum(x), x.sum(0, dtype="float64"), rtol=0, atol=1e-4)


def test_what_is_not_finite_stays_in_its_column(monkeypatch):
    monkeypatch.setattr(sums, "FEW", 0)
    x = np.ones((130, 5), "float32")
    x[70, 1], x[3, 2], x[4, 3], x[129, 3] = np.nan, np.inf, np.inf, -np.inf
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(column_sum(x), x.sum(0))


def test_a_matrix_without_rows_or_columns_has_the_sums_of_numpy():
    for shape in ((0, 3), (3, 0), (0, 0)):
        np.testing.assert_array_equal(column_sum(np.ones(shape, "float32")), np.zeros(shape[1]))


@pytest.mark.parametrize("mode", [QUICK, pytest.param("NUMBA", marks=pytest.mark.numba)])
def test_compiled_functions_sum_columns_of_float32_by_the_kernel(mode):
    x, y = pt.fmatrix("x"), pt.dmatrix("y")
    outputs = [x.sum(0), x.T.sum(0), x.sum(1), y.sum(0), x.sum(), pt.cast(x, "float64").sum(0)]
    f = pytensor.function([x, y], outputs, mode=mode)
    assert sum(isinstance(node.op, ColumnSum) for node in f.maker.fgraph.apply_nodes) >= 1
    for shape in ((1, 1), (300, 120), (5, 7), (0, 3)):
        a = np.random.default_rng(3).normal(size=shape).astype("float32")
        b = a.astype("float64")
        expected = [b.sum(0), b.sum(1), b.sum(1), b.sum(0), b.sum(), b.sum(0)]
        for got, v, wanted in zip(f(a, b), outputs, expected, strict=True):
            assert got.dtype == v.dtype
            np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-4)
