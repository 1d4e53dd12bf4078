import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.compile.builders import OpFromGraph

from symrnn.compiling.function import function, graph_updates, with_updates
from symrnn.compiling.modes import QUICK, as_mode
from symrnn.nn.layers import BatchNorm, Dropout
from symrnn.nn.random import draw_normal, draw_uniform
from symrnn.training.optimizers import adam


def generator(seed=1):
    return pt.random.shared_rng(seed=seed)


@pytest.mark.parametrize("mode", [None, "QUICK", "FAST_COMPILE"])
def test_random_numbers_differ_from_call_to_call_and_repeat_with_the_seed(mode):
    draws = []
    for _ in range(2):
        f = function([], draw_uniform(np.random.default_rng(3), (5,)), mode=mode)
        draws.append([f(), f()])
    assert (draws[0][0] != draws[0][1]).all()
    np.testing.assert_array_equal(draws[0], draws[1])


def test_plain_pytensor_needs_the_updates_and_works_with_them():
    x = draw_normal(np.random.default_rng(3), (5,))
    still = pytensor.function([], x)
    moving = pytensor.function([], x, updates=graph_updates(x))
    assert (still() == still()).all()
    assert (moving() != moving()).all()


def test_generators_are_found_behind_gradients_and_in_updates():
    w, mask = pytensor.shared(np.ones(3), name="w"), draw_uniform(np.random.default_rng(1), (3,))
    loss = (w * mask).sum()
    step = function([], loss, updates=adam(loss, [w], 0.1))
    assert step() != step()
    noisy = function([], [], updates={w: draw_uniform(np.random.default_rng(1), (3,))})
    noisy()
    first = w.get_value()
    noisy()
    assert (first != w.get_value()).all()


def test_outputs_may_be_nested_wrapped_or_missing():
    x = pt.dscalar("x")
    noise = draw_uniform(np.random.default_rng(1), ())
    assert len(graph_updates([x, [noise]])) == len(graph_updates({"y": x * noise})) == 1
    assert graph_updates(None) == {}
    assert not function([x], on_unused_input="ignore")(1.0)
    out = pytensor.Out(x + noise, borrow=True)
    f = function([x], out)
    assert f(0.0) != f(0.0)


def test_a_chain_of_draws_moves_to_its_last_state():
    rng = generator()
    second, a = rng.uniform()
    third, b = second.uniform()
    assert graph_updates(a + b) == {rng: third}
    f = function([], [a, b])
    four = [*f(), *f()]
    assert len({float(v) for v in four}) == 4


@pytest.mark.filterwarnings("ignore:RandomGeneratorVariable")
def test_two_draws_from_one_state_are_refused_but_copies_of_one_draw_are_not():
    rng = generator()
    _, a = rng.uniform()
    _, b = rng.normal()
    with pytest.raises(ValueError, match=r"2 draws are made from one state"):
        function([], a + b)
    _, again = a.owner.clone().outputs
    f = function([], [a, 1 * again])
    one, two = f()
    assert one == two
    assert one != f()[0]


def test_a_generator_carried_by_a_scan_moves_on():
    rng = generator()

    def step(rng):
        next_rng, x = rng.uniform()
        return next_rng, x

    _, xs = pytensor.scan(
        step, outputs_info=[rng, None], n_steps=4, return_updates=False, return_list=True
    )
    f = function([], xs, mode="FAST_COMPILE")
    first, second = f(), f()
    assert len({*first, *second}) == 8


def test_given_updates_come_first():
    rng = generator()
    next_rng, x = rng.uniform()
    f = function([], x, updates={rng: rng})
    assert f() == f()
    assert graph_updates(x) == {rng: next_rng}


def test_statistics_move_only_with_a_graph_that_they_belong_to():
    x, norm = pt.dmatrix("x"), BatchNorm(1, momentum=0.5)
    y = norm(x, training=True)
    value = np.array([[1.0], [3.0]])
    function([x], norm(x, training=False))(value)
    assert norm.running_mean.get_value() == 0
    step = function([x], y.sum())
    step(value)
    assert norm.running_mean.get_value() == 1
    step(value)
    assert norm.running_mean.get_value() == 1.5


def test_a_statistic_behind_dropout_moves_together_with_its_generator():
    x, norm = pt.dmatrix("x"), BatchNorm(1)
    h = Dropout(0.5, rng=np.random.default_rng(1))(x, training=True)
    loss = norm(h, training=True).sum()
    assert len(graph_updates(loss)) == 3


def test_what_moves_a_statistic_may_draw_random_numbers_itself():
    rng = generator()
    next_rng, noise = rng.normal()
    mean = pytensor.shared(0.0, name="mean")
    y = with_updates(pt.dscalar("x") + 1, {mean: mean + noise})
    assert graph_updates(2 * y) == {mean: y.tag.symrnn_updates[mean], rng: next_rng}


def test_modes_by_name():
    assert as_mode(None) is QUICK
    assert as_mode("QUICK") is QUICK
    assert as_mode("NUMBA") == "NUMBA"
    assert as_mode(QUICK) is QUICK
    x = pt.dscalar("x")
    assert function([x], x + 1, mode="FAST_COMPILE")(1.0) == 2
    assert function([x], x + 1, on_unused_input="ignore")(1.0) == 2


@pytest.mark.parametrize("pairs", [dict, list])
def test_generators_are_found_behind_givens(pairs):
    x = pt.dvector("x")
    f = function([], 2 * x, givens=pairs([(x, draw_uniform(np.random.default_rng(1), (3,)))]))
    assert (f() != f()).all()


def test_updates_may_be_a_list_of_pairs():
    n = pytensor.shared(0, name="n")
    f = function([], n, updates=[(n, n + 2)])
    assert [f(), f()] == [0, 2]


def nested_scans(rng, carried):
    """Four outer steps of three inner ones, each of which draws a number."""

    def inner(rng):
        return rng.uniform()

    def outer(rng):
        rng, xs = pytensor.scan(inner, outputs_info=[rng, None], n_steps=3, return_updates=False)
        return rng, xs

    if carried:
        _, xs = pytensor.scan(outer, outputs_info=[rng, None], n_steps=4, return_updates=False)
        return xs
    return pytensor.scan(lambda: outer(rng)[1], n_steps=4, return_updates=False)


def test_a_generator_carried_by_nested_scans_moves_on():
    f = function([], nested_scans(generator(), carried=True))
    assert len({*f().ravel(), *f().ravel()}) == 24


def test_a_generator_that_a_scan_does_not_carry_is_warned_of():
    rng = pt.random.shared_rng(seed=1, name="masks")
    with pytest.warns(UserWarning, match="same random numbers at each call from masks") as caught:
        f = function([], nested_scans(rng, carried=False))
    assert caught[0].filename == __file__
    assert (f() == f()).all()
    other = pt.random.shared_rng(seed=1)
    inner = other.type()
    drawn = OpFromGraph([inner], [inner.uniform(size=(2,))[1]])(other)
    with pytest.warns(UserWarning, match="an unnamed generator, which a scan or an OpFromGraph"):
        function([], drawn)
