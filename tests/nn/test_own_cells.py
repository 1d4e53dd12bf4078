"""Cells as users write them: whatever their step, both implementations and all modes agree."""

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.graph.traversal import ancestors

from symrnn.compiling.modes import QUICK
from symrnn.kernels.recurrence import Recurrence
from symrnn.nn.cells import Cell, ElmanCell, HiddenState, LSTMCell
from symrnn.nn.layers import Dense, Embedding
from symrnn.nn.recurrent import unroll

T, B, D, H = 4, 3, 2, 4
ODD = np.arange(H) % 2 == 1


def with_step(step, **attributes):
    """A cell with one gate and this step."""
    body = {"n_gates": 1, "State": HiddenState, "step": step, **attributes}
    return type("OwnCell", (Cell,), body)


STEPS = {
    "a constant of NumPy's": lambda self, z, h: (pt.tanh(z[0] * np.sqrt(2)) + np.float64(0.1) * h,),
    "a vector of NumPy's": lambda self, z, h: (np.linspace(0, 1, H) * h + pt.tanh(z[0]),),
    "whole numbers": lambda self, z, h: (np.arange(H) * pt.tanh(z[0]) / 4 + np.int64(2) * h / 5,),
    "a pattern of units": lambda self, z, h: (pt.switch(ODD, h, pt.tanh(z[0])),),
    "not": lambda self, z, h: (pt.switch(~pt.gt(z[0], 0), h, pt.tanh(z[0])),),
    "isnan": lambda self, z, h: (pt.switch(pt.isnan(z[0]), h, pt.tanh(z[0])),),
    "rounded": lambda self, z, h: (h / 2 + pt.cast(z[0] * 4, "int8") / 4 + z[0],),
    "cast to bool": lambda self, z, h: (h / 2 + pt.cast(pt.cast(z[0], "bool"), z[0].dtype) + z[0],),
    "sum of truths": lambda self, z, h: (h / 2 + (pt.gt(z[0], 0) + pt.gt(h, 0)) * z[0],),
    "truth times number": lambda self, z, h: (h / 2 + pt.gt(z[0], 0) * z[0] + pt.eq(h, 0),),
    "log of sigmoid": lambda self, z, h: (pt.log(pt.sigmoid(z[0])) + h / 2,),
    "log of 1 + exp": lambda self, z, h: (pt.log(1 + pt.exp(z[0])) + h / 2,),
    "clipped": lambda self, z, h: (pt.clip(z[0], -0.5, 0.5) + pt.minimum(h, z[0]) / 2,),
    "always zero": lambda self, z, h: (pt.zeros_like(h),),
    "higher precision inside": lambda self, z, h: (pt.tanh(z[0].astype("float64")) + h / 2,),
}


def both_ways(floatX="float64"):
    """Outputs and gradients of all cells, and again by the gradient of the scan."""
    rng, x = np.random.default_rng(0), pt.tensor("x", dtype=floatX, shape=(T, B, D))
    wanted = {"kernel": [], "scan": []}
    for step in STEPS.values():
        cell = with_step(step)(D, H, rng=rng)
        for implementation, results in wanted.items():
            outputs, _ = unroll(cell, x, implementation=implementation)
            params = list(cell.params)
            gradients = pytensor.grad((outputs**2).sum(), params, disconnected_inputs="ignore")
            results += [outputs, *gradients]
    value = rng.normal(size=(T, B, D)).astype(floatX)
    return x, value, wanted


def names_of_results():
    return [f"{name}: {v}" for name in STEPS for v in ("h", "dW_x", "dW_h", "db")]


@pytest.mark.parametrize(
    ("floatX", "atol"),
    [("float64", 1e-12), pytest.param("float32", 1e-3, marks=pytest.mark.slow)],
)
def test_whatever_is_in_a_step_the_fast_gradient_equals_that_of_the_scan(floatX, atol):
    with pytensor.config.change_flags(floatX=floatX):
        x, value, wanted = both_ways(floatX)
        for v in wanted["kernel"][::4]:
            assert any(isinstance(a.owner.op, Recurrence) for a in ancestors([v]) if a.owner)
        assert {v.dtype for v in wanted["kernel"]} == {floatX}
        f = pytensor.function([x], [*wanted["kernel"], *wanted["scan"]], mode=QUICK)
        results = f(value)
    half = len(results) // 2
    for name, a, b in zip(names_of_results(), results[:half], results[half:], strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=atol, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["FAST_COMPILE", pytest.param("NUMBA", marks=pytest.mark.numba)])
def test_whatever_is_in_a_step_modes_agree(mode):
    x, value, wanted = both_ways()
    results = pytensor.function([x], wanted["kernel"], mode=mode)(value)
    expected = pytensor.function([x], wanted["kernel"], mode=QUICK)(value)
    for name, a, b in zip(names_of_results(), results, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("mode", [QUICK, pytest.param("NUMBA", marks=pytest.mark.slow)])
def test_logarithms_of_what_overflows_are_finite_as_in_pytensor(mode):
    x, results = pt.dtensor3("x"), []
    for step in (
        lambda self, z, h: (pt.log(1 + pt.exp(2000 * z[0])) / 2000 + h / 2,),
        lambda self, z, h: (pt.softplus(2000 * z[0]) / 2000 + h / 2,),
        lambda self, z, h: (pt.log(pt.sigmoid(2000 * z[0])) / 2000 + h / 2,),
        lambda self, z, h: (-pt.softplus(-2000 * z[0]) / 2000 + h / 2,),
    ):
        cell = with_step(step)(D, H, rng=np.random.default_rng(0))
        outputs, _ = unroll(cell, x)
        results += [outputs, *pytensor.grad((outputs**2).sum(), cell.params)]
    f = pytensor.function([x], results, mode=mode)
    results = f(np.random.default_rng(1).normal(size=(T, B, D)))
    for a, b in zip(results[:4] + results[8:12], results[4:8] + results[12:], strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


def test_a_gate_may_come_from_the_input_alone():
    class Highway(Cell):
        n_gates, State, additive = 2, HiddenState, False

        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.n_recurrent_gates = 1
            self.W_h.set_value(self.W_h.get_value()[:, : self.n_hidden])

        def step(self, zx, zh, h):
            return HiddenState(pt.sigmoid(zx[0]) * h + pt.tanh(zx[1] + zh[0]))

    rng, x = np.random.default_rng(0), pt.tensor3("x")
    cell, results = Highway(D, H, rng=rng), []
    for implementation in ("kernel", "scan"):
        outputs, _ = unroll(cell, x, implementation=implementation)
        results += [outputs, *pytensor.grad((outputs**2).sum(), cell.params)]
    results = pytensor.function([x], results, mode=QUICK)(rng.normal(size=(T, B, D)))
    for a, b in zip(results[:4], results[4:], strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


def mean_free(self, z, h):
    return HiddenState(pt.tanh(z[0] - z[0].mean(axis=1, keepdims=True)))


def test_a_step_that_is_more_than_elementwise_works_and_should_say_so():
    rng, x = np.random.default_rng(0), pt.tensor3("x")
    message = "OwnCell.step is more than elementwise.*elementwise = F"
    with pytest.warns(UserWarning, match=message) as caught:
        unroll(with_step(mean_free)(D, H, rng=rng), x)
    assert caught[0].filename == __file__
    outputs, _ = unroll(with_step(mean_free, elementwise=False)(D, H, rng=rng), x)
    h = pytensor.function([x], outputs, mode=QUICK)(rng.normal(size=(T, B, D)))
    np.testing.assert_allclose(np.arctanh(h).mean(axis=2), 0, atol=1e-12)


def test_an_attribute_is_trained_and_a_weight_from_elsewhere_is_warned_of():
    a = pytensor.shared(np.zeros(H), name="a")

    class Forgetful(Cell):
        n_gates, State = 1, HiddenState

        def step(self, z, h):
            return HiddenState(pt.tanh(z[0]) + a * h)

    cell = Forgetful(D, H, rng=np.random.default_rng(0))
    message = r"Forgetful.step uses a, .* an attribute of the cell"
    with pytest.warns(UserWarning, match=message) as caught:
        unroll(cell, pt.tensor3("x"))
    assert caught[0].filename == __file__
    cell.a = a
    assert a in cell.params
    unroll(cell, pt.tensor3("x"))  # and warnings are errors


def test_a_whole_number_is_not_trained_and_said_to_be_so():
    cell = with_step(lambda self, z, h: (pt.tanh(z[0]) + self.k * h,))(
        D, H, rng=np.random.default_rng(0)
    )
    cell.k = pytensor.shared(np.ones(H, dtype="int64"), name="k")
    with pytest.warns(UserWarning, match="dtype int64, and only floats are trained"):
        unroll(cell, pt.tensor3("x"))


def test_a_class_that_does_not_say_what_a_cell_says_is_refused():
    class Bare(Cell):
        def step(self, z, h):
            return HiddenState(z[0])

    with pytest.raises(TypeError, match="class Bare must have n_gates and State"):
        Bare(D, H, rng=np.random.default_rng(0))


@pytest.mark.parametrize(
    ("step", "error", "message"),
    [
        (lambda self, z, h: (z[0].mean(axis=1),), ValueError, "1 axes.*keepdims=True"),
        (lambda self, z, h: pt.tanh(z[0]), TypeError, "must return the cell's kind of state"),
        (lambda self, z, h: HiddenState(pt.tanh(z)), ValueError, "3 axes.*z is a tuple"),
        (lambda self, z, h: (h, h), ValueError, "returns 2 arrays, but the cell's state has 1"),
    ],
)
def test_a_step_that_returns_no_state_is_refused(step, error, message):
    with pytest.raises(error, match=message):
        unroll(with_step(step)(D, H, rng=np.random.default_rng(0)), pt.tensor3("x"))


def test_a_class_that_does_not_call_super_is_refused():
    class Weightless(Cell):
        n_gates, State = 1, HiddenState

        def __init__(self, n_hidden):
            self.n_hidden = n_hidden

    with pytest.raises(TypeError, match=r"Weightless has no weights: .* call super\(\).__init__"):
        unroll(Weightless(H), pt.tensor3("x"))


@pytest.mark.parametrize("sizes", [(0, 3), (3, 0), (2.5, 3), ("3", 3), (3, True)])
@pytest.mark.parametrize("make", [LSTMCell, Dense, Embedding])
def test_sizes_that_are_not_whole_numbers_from_1_are_refused(make, sizes):
    with pytest.raises(ValueError, match=r"n_\w+ is \S+, but must be a whole number, at least 1"):
        make(*sizes, rng=np.random.default_rng(0))


def test_a_list_is_not_one_of_the_choices():
    with pytest.raises(ValueError, match=r"activation is \['tanh'\], but must be one of 'tanh', "):
        ElmanCell(D, H, rng=np.random.default_rng(0), activation=["tanh"])
