import tracemalloc

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

from symrnn.compiling.function import function
from symrnn.compiling.many_steps import compile_many_steps
from symrnn.compiling.modes import QUICK
from symrnn.nn.cells import ElmanCell
from symrnn.nn.layers import Dense, Dropout
from symrnn.nn.recurrent import unroll
from symrnn.training.clipping import clip_by_global_norm
from symrnn.training.losses import mean_squared_error
from symrnn.training.optimizers import adam, gradient_descent


def training(optimizer, noisy=False, **options):
    """Everything that a step of a small net's training needs, from one seed."""
    rng = np.random.default_rng(0)
    x, t, rate = pt.dtensor3("x"), pt.dmatrix("t"), pt.dscalar("rate")
    cell, dense = ElmanCell(2, 3, rng=rng), Dense(3, 1, rng=rng)
    h = unroll(cell, x, **options)[0][-1]
    if noisy:
        h = Dropout(0.5, rng=rng)(h, training=True)
    loss = mean_squared_error(dense(h), t)
    params = [*cell.params, *dense.params]
    updates = optimizer(pytensor.grad(loss, params), params, rate)
    return [x, t], rate, [loss, h], updates, params


def data(n_steps):
    rng = np.random.default_rng(1)
    return rng.normal(size=(n_steps, 4, 5, 2)), rng.normal(size=(n_steps, 5, 1))


def clipped(gradients, params, rate):
    return gradient_descent(clip_by_global_norm(gradients, 0.1), params, rate)


def one_by_one(*arguments, mode=QUICK, **options):
    """Losses, states, and the weights after steps that are made by calls."""
    inputs, rate, outputs, updates, params = training(*arguments, **options)
    step = function([*inputs, rate], outputs, updates, mode=mode)
    results = [step(x, t, 0.1) for x, t in zip(*data(6), strict=True)]
    return [np.stack(r) for r in zip(*results, strict=True)], [p.get_value() for p in params]


def in_one_call(*arguments, mode=QUICK, segments=((0, 6),), **options):
    """The same, made by a scan, or by a few of them."""
    inputs, rate, outputs, updates, params = training(*arguments, **options)
    steps = compile_many_steps(inputs, outputs, updates, constants=[rate], mode=mode)
    xs, ts = data(6)
    results = [steps(xs[a:b], ts[a:b], 0.1) for a, b in segments]
    return [np.concatenate(r) for r in zip(*results, strict=True)], [p.get_value() for p in params]


def assert_equal(ours, expected):
    for group, wanted in zip(ours, expected, strict=True):
        for a, b in zip(group, wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-13)


@pytest.mark.parametrize("optimizer", [gradient_descent, adam, clipped])
@pytest.mark.parametrize("implementation", ["kernel", "scan"])
def test_many_steps_in_one_call_equal_as_many_calls(optimizer, implementation):
    assert_equal(
        in_one_call(optimizer, implementation=implementation),
        one_by_one(optimizer, implementation=implementation),
    )


def test_steps_continue_from_call_to_call():
    assert_equal(in_one_call(adam, segments=((0, 1), (1, 4), (4, 6))), one_by_one(adam))


def test_random_masks_are_new_at_each_step_and_those_of_single_steps():
    (_, h), _ = found = in_one_call(gradient_descent, noisy=True)
    assert_equal(found, one_by_one(gradient_descent, noisy=True))
    assert len({tuple(mask.ravel()) for mask in h == 0}) == 6


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["NUMBA", "CVM"])
def test_other_modes_give_the_same(mode):
    assert_equal(in_one_call(adam, noisy=True, mode=mode), one_by_one(adam, noisy=True))


@pytest.mark.filterwarnings("ignore:.*default_update:DeprecationWarning")
def test_default_updates_are_made_at_each_step():
    w, x = pytensor.shared(0.0, name="w"), pt.dscalar("x")
    count, twice = pytensor.shared(0.0, name="count"), pytensor.shared(1.0, name="twice")
    count.default_update = count + twice
    twice.default_update = 2 * twice
    steps = compile_many_steps([x], count, [(w, w + x * count)], mode=QUICK)
    np.testing.assert_array_equal(steps(np.ones(3)), [0, 1, 3])
    np.testing.assert_array_equal(steps(np.ones(2)), [7, 15])
    assert (float(w.get_value()), float(twice.get_value())) == (26, 32)


def test_a_next_value_may_be_a_number_or_a_given_array():
    w, x = pytensor.shared(np.ones(2), name="w"), pt.dscalar("x")
    steps = compile_many_steps([x], [w[0] + x], {w: [3, 4]}, mode=QUICK)
    np.testing.assert_array_equal(steps(np.zeros(2))[0], [1, 3])


@pytest.mark.parametrize("mode", [QUICK, "FAST_COMPILE"])
def test_the_weights_of_single_steps_are_not_kept(mode):
    w, x = pytensor.shared(np.zeros(100_000), name="w"), pt.dscalar("x")
    steps = compile_many_steps([x], w[0], {w: w + x}, mode=mode)
    steps(np.ones(2))
    tracemalloc.start()
    steps(np.ones(200))  # all of them: 160 MB
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20e6


def test_series_that_do_not_fit_are_refused():
    inputs, rate, (loss, _), updates, _ = training(gradient_descent)
    steps = compile_many_steps(inputs, loss, updates, constants=[rate], mode=QUICK)
    xs, ts = data(6)
    assert steps(xs, ts, 0.1).shape == (6,)
    for x, t in ((xs, ts[:5]), (xs[:0], ts[:0])):
        with pytest.raises(ValueError, match="all series must be equally long"):
            steps(x, t, 0.1)


def test_graphs_that_do_not_fit_are_refused():
    inputs, rate, outputs, updates, _ = training(gradient_descent)
    with pytest.raises(ValueError, match="depend on rate: add it to inputs"):
        compile_many_steps(inputs, outputs, updates)
    with pytest.raises(ValueError, match="0 inputs and"):
        compile_many_steps([], outputs, updates, constants=[rate])
    with pytest.raises(ValueError, match="and 0 updates"):
        compile_many_steps(inputs, outputs, {}, constants=[rate])
