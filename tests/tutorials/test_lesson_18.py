import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from _lesson import OptionError
from conftest import load_lesson, run_lesson

from symrnn.compiling.modes import QUICK
from symrnn.nn.cells import ElmanCell, LSTMCell

lesson = load_lesson("18")


def test_the_quick_run_prints_and_draws_all_parts(quick):
    found, printed, folder = quick
    assert sorted(p.stem for p in folder.iterdir()) == ["18_gradients", "18_training"]
    for part in range(1, 4):
        assert f"{part}. " in printed
    assert max(map(len, printed.splitlines())) < 150
    assert [*found["runs"]] == ["deep, residual"]


def test_numpy_graph_and_library_have_the_same_outputs(quick):
    for by_hand, graph, library in quick[0]["outputs"].values():
        np.testing.assert_allclose(graph, by_hand, atol=1e-14)
        np.testing.assert_allclose(library, by_hand, atol=1e-14)


def test_residual_connections_change_the_outputs(quick):
    plain, residual = (found[0] for found in quick[0]["outputs"].values())
    assert not np.allclose(plain, residual)


def test_a_sum_goes_up_and_not_on_in_time():
    """A layer whose weights for its input are 0 hands on what it got; plain, it hands on 0."""
    cell = ElmanCell(2, 2, W_x=np.zeros((2, 2)), W_h=np.eye(2))
    x = np.random.default_rng(1).normal(size=(3, 1, 2))
    np.testing.assert_array_equal(lesson.in_numpy([cell], x, residual=True), x)
    np.testing.assert_array_equal(lesson.in_numpy([cell], x, residual=False), 0 * x)


def test_the_gradient_of_a_residual_layer_is_the_plain_one_and_what_came_from_above():
    rng = np.random.default_rng(1)
    cell, x = LSTMCell(3, 3, rng=rng), pt.as_tensor_variable(rng.normal(size=(4, 2, 3)))
    weights = rng.normal(size=(4, 2, 3))  # the gradient that comes from above
    plain, residual = (
        pytensor.grad((lesson.outputs_of_layers([cell], x, r)[1] * weights).sum(), x)
        for r in (False, True)
    )
    plain, residual = pytensor.function([], [plain, residual], mode=QUICK)()
    np.testing.assert_allclose(residual, plain + weights, atol=1e-14)


def test_gradients_fall_over_plain_layers_and_do_not_with_residual_connections(quick):
    plain, residual = (quick[0]["flows"][2, r].gradient for r in (False, True))
    assert (plain[:-1] < 0.6 * plain[1:]).all()
    assert residual[0] > 0.9 * residual[-1]


def test_the_gradient_of_the_input_is_that_of_finite_differences():
    """The norm of g^0, by changing x along it: the loss changes by as much as the norm says."""
    rng = np.random.default_rng(2)
    cells = [ElmanCell(3, 3, rng=rng) for _ in range(2)]
    x, eps = rng.normal(size=(4, 2, 3)), 1e-6
    variable = pt.tensor3("x", dtype="float64")
    top = lesson.outputs_of_layers(cells, variable, residual=True)[-1]
    g = pytensor.function([variable], pytensor.grad((top**2).sum(), variable), mode=QUICK)(x)
    along = g / np.linalg.norm(g)
    up, down = (
        (lesson.in_numpy(cells, x + d, True) ** 2).sum() for d in (eps * along, -eps * along)
    )
    assert (up - down) / (2 * eps) == pytest.approx(np.linalg.norm(g), rel=1e-6)


def test_options_that_cannot_be_used_are_named(tmp_path):
    with pytest.raises(OptionError, match="--n-seeds"):
        run_lesson(lesson, tmp_path, n_seeds=0)


@pytest.mark.slow
def test_residual_connections_let_the_deep_net_learn_in_the_usual_setting(tmp_path):
    found, _ = run_lesson(lesson, tmp_path)
    deepest = [found["flows"][8, r] for r in (False, True)]
    ratios = [flow.gradient[1] / flow.gradient[-1] for flow in deepest]
    assert ratios[0] < 0.01 < 1 < ratios[1]
    one, plain, residual = (run for (run,) in found["runs"].values())
    assert one.n_weights < plain.n_weights == residual.n_weights
    assert plain.accuracy[2] < 0.2 < 0.6 < residual.accuracy[2]
    assert plain.accuracy[-1] + 0.1 < residual.accuracy[-1]
    assert residual.accuracy[-1] > 0.85
    assert one.accuracy[-1] > 0.85  # this task needs no depth
