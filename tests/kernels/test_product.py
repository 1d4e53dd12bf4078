"""Products of matrices by the kernel: any shape, any memory layout, any number of threads."""

import os
import subprocess
import sys

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from borders import NEVER, Bordered

from symrnn.compiling.modes import QUICK
from symrnn.kernels import calls
from symrnn.kernels.calls import multiply, spare
from symrnn.kernels.product import (
    COLUMNS_BLOCK,
    DEPTH_BLOCK,
    MOST_ROWS,
    PRODUCT_JOB,
    call_product,
    panel_width,
    scratch_size,
)

ATOL = {"float32": 1e-4, "float64": 1e-12}
DTYPES = pytest.mark.parametrize("dtype", ATOL)
WIDTH = panel_width("float64")
SIZES = [  # rows, depth, columns
    *((1, 1, 1), (1, 5, WIDTH), (2, 1, WIDTH - 1), (3, 2, WIDTH + 1), (WIDTH, 7, 2 * WIDTH)),
    *((MOST_ROWS - 1, 3, 5), (MOST_ROWS, 3, 5), (MOST_ROWS + 1, 3, 5), (5 * MOST_ROWS + 2, 4, 3)),
    *((7, DEPTH_BLOCK - 1, 9), (7, DEPTH_BLOCK, 9), (7, DEPTH_BLOCK + 1, 9)),
    *((2, 2 * DEPTH_BLOCK + 3, 70), (9, 6, COLUMNS_BLOCK), (9, 6, COLUMNS_BLOCK + 1)),
    *((3, DEPTH_BLOCK + 5, 2 * COLUMNS_BLOCK + 17), (300, 2, 3)),
]
LAYOUTS = {
    "row by row": np.ascontiguousarray,
    "column by column": np.asfortranarray,
    "every other row and third column": lambda x: _within(x, slice(None, None, 2), 3),
    "backwards": lambda x: np.ascontiguousarray(x[::-1, ::-1])[::-1, ::-1],
    "part of a larger one": lambda x: _within(x, slice(0, len(x)), 1),
    "part of a larger transposed one": lambda x: _within(x.T, slice(0, x.shape[1]), 1).T,
}


def _within(x, rows, step):
    large = np.full((2 * len(x) + 1, 3 * x.shape[1] + 5), np.nan, x.dtype)
    view = large[rows, : step * x.shape[1] : step][: len(x)]
    view[...] = x
    return view


def matrices(rng, dtype, *shapes):
    return [rng.normal(size=shape).astype(dtype) for shape in shapes]


def exact(a, b, add=0.0):
    return np.matmul(a.astype("float64"), b.astype("float64")) + add


def by_kernel(a, b, add=None, threads=1):
    """The kernel's result for contiguous arrays, which lie within borders of NaN."""
    dtype, (*batch, rows, depth), columns = str(a.dtype), a.shape, b.shape[-1]
    batch = batch[0] if batch else 1
    given = {"a": Bordered(a), "b": Bordered(b)}
    if add is not None:
        given["add"] = Bordered(add)
    out = Bordered(np.full((*a.shape[:-1], columns), np.nan, dtype), NEVER)
    scratch = Bordered(np.full(scratch_size(dtype, threads) + spare(dtype), np.nan, dtype), NEVER)
    values = {
        **{"n_threads": threads, "batch": batch, "rows": rows, "columns": columns},
        **{"depth": depth, "a_batch": rows * depth, "a_row": depth, "a_k": 1},
        **{"b_batch": depth * columns, "b_k": columns, "b_column": 1},
        **{"add": 0, "add_row": columns if np.ndim(add) == 2 else 0},
        **{name: array.address for name, array in given.items()},
        **{"out": out.address, "scratch": scratch.address},
    }
    job = np.array([values[name] for name in PRODUCT_JOB], np.int64)
    call_product(dtype)(job.ctypes.data)
    assert all(array.is_intact() for array in (*given.values(), out, scratch))
    return out.array


@pytest.fixture
def always_the_kernel(monkeypatch):
    """Even where NumPy would be faster."""
    monkeypatch.setattr(calls, "FEW", 0)


@DTYPES
def test_products_of_all_sizes_equal_numpy_and_nothing_outside_is_read_or_written(dtype):
    rng = np.random.default_rng(0)
    for rows, depth, columns in SIZES:
        a, b, row, add = matrices(
            rng, dtype, (rows, depth), (depth, columns), columns, (rows, columns)
        )
        for added in (None, row, add):
            expected = exact(a, b, 0.0 if added is None else added)
            np.testing.assert_allclose(by_kernel(a, b, added), expected, atol=ATOL[dtype], rtol=0)


@DTYPES
def test_products_of_random_sizes_equal_numpy(dtype):
    rng = np.random.default_rng(1)
    for _ in range(60):
        rows, depth, columns = rng.integers(1, 90, 3)
        batch = () if rng.integers(2) else (rng.integers(2, 5),)
        a, b = matrices(rng, dtype, (*batch, rows, depth), (*batch, depth, columns))
        got = by_kernel(a, b, threads=int(rng.integers(1, 4)))
        np.testing.assert_allclose(got, exact(a, b), atol=ATOL[dtype], rtol=0)


@DTYPES
@pytest.mark.parametrize("layout_b", LAYOUTS)
@pytest.mark.parametrize("layout_a", LAYOUTS)
def test_products_take_any_memory_layout(layout_a, layout_b, dtype, always_the_kernel):
    rng = np.random.default_rng(2)
    for rows, depth, columns in ((13, 21, 35), (2, 1, 1), (40, 3, 2)):
        a, b, add = matrices(rng, dtype, (rows, depth), (depth, columns), columns)
        got = multiply(LAYOUTS[layout_a](a), LAYOUTS[layout_b](b), add)
        np.testing.assert_allclose(got, exact(a, b, add), atol=ATOL[dtype], rtol=0)


@DTYPES
def test_batches_of_matrices_take_any_memory_layout(dtype, always_the_kernel):
    rng = np.random.default_rng(3)
    a, b = matrices(rng, dtype, (4, 5, 6), (4, 6, 7))
    one = matrices(rng, dtype, (6, 7))[0]
    cases = [
        (a, b),
        (np.asfortranarray(a), np.asfortranarray(b)),
        (a.transpose(1, 0, 2).copy().transpose(1, 0, 2), b.transpose(2, 1, 0).copy().T),
        (a[::-1], b[::2].repeat(2, 0)),
        (a[:1], b[:1]),
        (a, np.broadcast_to(one, (4, 6, 7))),
    ]
    for x, y in cases:
        np.testing.assert_allclose(multiply(x, y), exact(x, y), atol=ATOL[dtype], rtol=0)


def test_an_added_row_may_lie_anywhere(always_the_kernel):
    rng = np.random.default_rng(4)
    a, b, add = matrices(rng, "float64", (5, 6), (6, 7), 21)
    np.testing.assert_allclose(multiply(a, b, add[::3]), exact(a, b, add[::3]), atol=1e-12)


@DTYPES
@pytest.mark.parametrize(
    "shape", [(400, 90, 210), (90, 210, 400), (1, 3000, 1000), (6, 200, 90, 80), (2, 2600, 17, 83)]
)
def test_the_result_does_not_depend_on_the_number_of_threads(shape, dtype):
    rng = np.random.default_rng(5)
    *batch, rows, depth, columns = shape
    a, b = matrices(rng, dtype, (*batch, rows, depth), (*batch, depth, columns))
    results = [by_kernel(a, b, threads=k) for k in (1, 2, 3, 5)]
    assert len({r.tobytes() for r in results}) == 1
    np.testing.assert_allclose(results[0], exact(a, b), atol=2 * ATOL[dtype], rtol=0)


def test_processes_with_one_and_with_two_threads_compute_the_same_bits():
    code = """
import hashlib, numpy as np
from symrnn.kernels.calls import multiply, spare
rng = np.random.default_rng(0)
a, b = (rng.normal(size=s).astype("float32") for s in ((300, 200), (200, 250)))
print(hashlib.sha256(multiply(a, b).tobytes()).hexdigest())
"""
    results = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "OMP_NUM_THREADS": n},
            capture_output=True,
            check=True,
        ).stdout
        for n in ("1", "2")
    }
    assert len(results) == 1


@DTYPES
def test_products_without_rows_columns_or_depth_are_those_of_numpy(dtype):
    for shapes in (((0, 3), (3, 4)), ((3, 0), (0, 4)), ((3, 4), (4, 0)), ((0, 0), (0, 0))):
        a, b = (np.ones(shape, dtype) for shape in shapes)
        add = np.arange(b.shape[1], dtype=dtype)
        np.testing.assert_array_equal(multiply(a, b, add), a @ b + add)
        assert multiply(a, b).dtype == dtype
    np.testing.assert_array_equal(
        multiply(np.ones((0, 2, 3), dtype), np.ones((0, 3, 2), dtype)), np.ones((0, 2, 2), dtype)
    )


@pytest.mark.parametrize("mode", [QUICK, pytest.param("NUMBA", marks=pytest.mark.numba)])
def test_products_without_rows_columns_or_depth_run_in_every_mode(mode):
    x, y, b = *pt.matrices("xy"), pt.vector("b")
    f = pytensor.function([x, y, b], [x @ y, x @ y + b], mode=mode)
    for rows, depth, columns in ((0, 3, 4), (3, 0, 4), (3, 4, 0), (0, 0, 0)):
        a, c, d = np.ones((rows, depth)), np.ones((depth, columns)), np.arange(float(columns))
        for got, expected in zip(f(a, c, d), (a @ c, a @ c + d), strict=True):
            np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("mode", [QUICK, pytest.param("NUMBA", marks=pytest.mark.numba)])
def test_shapes_that_do_not_fit_raise(mode):
    x, y, b = *pt.matrices("xy"), pt.vector("b")
    u, v = pt.tensor3("u"), pt.tensor3("v")
    product = pytensor.function([x, y], x @ y, mode=mode)
    with_bias = pytensor.function([x, y, b], x @ y + b, mode=mode)
    batched = pytensor.function([u, v], pt.matmul(u, v), mode=mode)
    for n in (4, 400):
        with pytest.raises(ValueError, match=r"shapes|dimension|[Mm]ultipl"):
            product(np.ones((n, n)), np.ones((n + 1, n)))
        with pytest.raises(ValueError, match=r"shapes|dimension|broadcast"):
            with_bias(np.ones((n, n)), np.ones((n, n)), np.ones(n + 1))
    for wrong in ((2, 4, 3), (3, 3, 3)):
        with pytest.raises(ValueError, match=r"shapes|dimension|broadcast"):
            batched(np.ones((2, 3, 3)), np.ones(wrong))


def test_multiply_says_which_shapes_do_not_fit():
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(4, 5\)"):
        multiply(np.ones((2, 3)), np.ones((4, 5)))
    with pytest.raises(ValueError, match=r"\(2,\)"):
        multiply(np.ones((2, 3)), np.ones((3, 5)), np.ones(2))
