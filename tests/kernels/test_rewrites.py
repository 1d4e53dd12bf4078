import pickle
import subprocess
import sys

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.compile.mode import get_mode, optdb

from symrnn.compiling.modes import QUICK
from symrnn.kernels import rewrites
from symrnn.nn.cells import LSTMCell
from symrnn.nn.recurrent import unroll


def test_registering_a_second_time_does_nothing():
    before = {name: optdb[name] for name in rewrites.REWRITES}
    rewrites.register()
    assert {name: optdb[name] for name in rewrites.REWRITES} == before


PRODUCTS_AND_SUMS = ["symrnn_products", "symrnn_products_and_biases", "symrnn_sums"]


@pytest.mark.parametrize(
    ("mode", "others"),
    [
        ("NUMBA", ["symrnn_numba", *PRODUCTS_AND_SUMS, "symrnn_scatter_add"]),
        ("JAX", ["symrnn_refuse_unknown_shape", "symrnn_no_kernels"]),
        ("FAST_COMPILE", []),
        (
            QUICK,
            [
                *(*PRODUCTS_AND_SUMS, "symrnn_uniform", "symrnn_quick_scatter_add"),
                *("symrnn_merge", "symrnn_fusion", "symrnn_sizes", "symrnn_numbers"),
            ],
        ),
    ],
)
def test_every_mode_takes_the_rewrites_that_it_has_kernels_for(mode, others):
    query = get_mode(mode).provided_optimizer
    taken = {r.name for r in optdb.query(query)}
    assert taken & {*rewrites.REWRITES} == {"symrnn_recurrence", *others}


def test_a_pickled_function_runs_in_a_process_that_has_imported_nothing(tmp_path):
    x, cell = pt.tensor3("x"), LSTMCell(2, 3, rng=np.random.default_rng(0))
    loss = (unroll(cell, x)[0] ** 2).sum()
    f = pytensor.function([x], [loss, pytensor.grad(loss, cell.W_h)], mode="FAST_COMPILE")
    value = np.ones((4, 2, 2))
    (tmp_path / "f").write_bytes(pickle.dumps((f, value, f(value))))
    code = """
import pickle, sys, numpy
f, value, expected = pickle.load(open(sys.argv[1], "rb"))
kinds = {type(n.op).__name__ for n in f.maker.fgraph.apply_nodes}
assert {"Recurrence", "RecurrenceGradient"} <= kinds
for got, wanted in zip(f(value), expected, strict=True):
    numpy.testing.assert_array_equal(got, wanted)
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "f")], check=True)
