"""The kernel's random numbers: uniform, independent, and the same from one seed."""

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

from symrnn.compiling.modes import QUICK
from symrnn.kernels import uniform
from symrnn.kernels.uniform import Uniform, draw_uniform


def draw(seed, *shape):
    return draw_uniform(np.random.default_rng(seed), shape, "float32")


def test_numbers_are_uniform_within_0_and_1():
    x = draw(1, 1_000_000)
    assert x.dtype == np.float32
    assert 0 <= x.min() < 1e-5
    assert 1 - 1e-5 < x.max() < 1
    counts, _ = np.histogram(x, 1000, (0, 1))
    chi_squared = ((counts - 1000) ** 2 / 1000).sum()
    assert abs(chi_squared - 999) < 5 * np.sqrt(2 * 999)


@pytest.mark.parametrize("lag", [1, 2, 3, 16, 32, 64, 256, 1024, 65536])
def test_neighbours_are_independent(lag):
    x = draw(2, 1_000_000)
    counts, *_ = np.histogram2d(x[:-lag], x[lag:], 32, ((0, 1), (0, 1)))
    expected = (len(x) - lag) / 32**2
    chi_squared = ((counts - expected) ** 2 / expected).sum()
    assert abs(chi_squared - 1023) < 5 * np.sqrt(2 * 1023)


def test_each_bit_is_one_half_of_the_time():
    bits = (draw(3, 500_000) * 2**24).astype(np.int64)[:, None] >> np.arange(24) & 1
    assert np.abs(bits.mean(axis=0) - 0.5).max() < 5 * 0.5 / np.sqrt(500_000)


def test_calls_are_independent_and_repeat_with_the_seed():
    rng = np.random.default_rng(4)
    first, second = (draw_uniform(rng, (400_000,), "float32") for _ in range(2))
    assert abs(np.corrcoef(first, second)[0, 1]) < 5 / np.sqrt(400_000)
    np.testing.assert_array_equal(first, draw(4, 400_000))
    assert len({draw(k, 2000).tobytes() for k in range(100)}) == 100
    starts = np.array([draw(k, 2000)[0] for k in range(300)])
    assert abs(starts.mean() - 0.5) < 5 * np.sqrt(1 / 12 / 300)


@pytest.mark.parametrize("n", [1024, 1025, 1039, 2047, 2048 + 33])
def test_the_numbers_do_not_depend_on_how_many_there_are(n):
    np.testing.assert_array_equal(draw(5, n), draw(5, 4096)[:n])


@pytest.mark.parametrize("n", [1024, 1025, 1039, 2081])
def test_nothing_is_written_beside_the_numbers(n, monkeypatch):
    around = np.full(n + 200, -7, np.float32)
    monkeypatch.setattr(uniform, "empty", lambda *_: around[100:-100])
    draw(6, n)
    assert (around[:100] == -7).all()
    assert (around[-100:] == -7).all()
    assert (around[100:-100] >= 0).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_default_mode_draws_by_it(dtype):
    with pytensor.config.change_flags(floatX=dtype):
        rng = pt.random.shared_rng(seed=1)
        next_rng, x = rng.uniform(0.0, 1.0, size=(30, 50))
        _, other = next_rng.uniform(-1.0, 1.0, size=(30, 50))
        f = pytensor.function([], [x, other], updates={rng: next_rng}, mode=QUICK)
    ops = [type(node.op) for node in f.maker.fgraph.apply_nodes]
    assert ops.count(Uniform) == 1
    (first, wide), (second, _) = f(), f()
    assert first.dtype == dtype
    assert first.shape == (30, 50)
    assert 0.45 < first.mean() < 0.55
    assert wide.min() < -0.9
    assert (first != second).all()
