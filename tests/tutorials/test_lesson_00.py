"""Lesson 0: its truth tables, its gradients, what one unit cannot learn and what a network can."""

import sys

import matplotlib.pyplot as plt
import numpy as np
import pytensor
import pytest
from conftest import load_lesson

lesson = load_lesson("00")
EPOCHS = 200  # what --quick uses
ROWS = [(0, 0), (0, 1), (1, 0), (1, 1)]
GATES = {
    "AND": [int(p and q) for p, q in ROWS],
    "OR": [int(p or q) for p, q in ROWS],
    "NAND": [int(not (p and q)) for p, q in ROWS],
    "XOR": [int(p != q) for p, q in ROWS],
}


@pytest.fixture(scope="module")
def unit():
    return lesson.compile_unit()


@pytest.fixture(scope="module")
def net():
    return lesson.compile_net()


def numpy_net(X, W, b, V, c):
    h = np.tanh(X @ W + b)
    return h, 1 / (1 + np.exp(-(h @ V + c)))


def test_a_variable_knows_its_axes():
    assert lesson.a_variable() == {"s": 0, "x": 1, "X": 2}


def test_the_top_of_the_graph_is_an_addition_of_a_sum_and_b():
    assert lesson.an_expression() == ("Add", "Sum{axes=None}.0", "b")


def test_one_compiled_function_takes_vectors_of_any_length():
    assert lesson.a_function() == (4.0, 7.0)


def test_set_value_changes_the_result_of_a_compiled_function():
    assert lesson.a_shared_variable() == (5.0, 20.0)


def test_the_gradient_of_the_square_is_the_one_by_hand(capsys):
    assert lesson.a_gradient() == (12.0, 18.0)
    assert "Second" in capsys.readouterr().out


def test_a_call_returns_the_loss_before_its_own_step():
    losses, values, _ = lesson.an_update()
    w, expected = 1.0, []
    for _ in range(3):
        expected.append((3 * w - 1) ** 2)
        w -= 0.05 * 2 * (3 * w - 1) * 3
    np.testing.assert_allclose(losses, expected)
    np.testing.assert_allclose(values[-1], w)


def test_all_updates_are_computed_from_the_old_values():
    assert lesson.an_update()[2] == (2.0, 1.0)


def test_the_targets_are_the_truth_tables():
    assert lesson.X_ROWS.tolist() == [list(row) for row in ROWS]
    assert {name: t.tolist() for name, t in lesson.TARGETS.items()} == GATES


@pytest.mark.parametrize("name", ["AND", "OR", "NAND"])
def test_hand_weights_make_the_gate(name):
    assert lesson.gates_by_hand()[name].tolist() == GATES[name]


def test_three_gates_make_xor():
    table = lesson.xor_by_hand()
    assert {name: column.tolist() for name, column in table.items()} == {
        name: GATES[name] for name in ("NAND", "OR", "XOR")
    }


def test_one_unit_learns_and_or_nand(unit):
    learnt = lesson.gates_learnt(unit, EPOCHS)
    for name, result in learnt.items():
        assert (result.y > 0.5).astype(int).tolist() == GATES[name]
        assert result.losses[-1] < 0.15
        assert np.all(np.sign(result.weights[0]) == np.sign(lesson.HAND_WEIGHTS[name][0]))
    assert len(learnt) == 3


@pytest.mark.parametrize("seed", range(5))
def test_one_unit_ends_at_ln_2_on_xor_and_never_gets_4_of_4(unit, seed):
    result, gradients, best_line = lesson.xor_with_one_unit(unit, 400, seed)
    np.testing.assert_allclose(result.losses[-1], np.log(2), atol=1e-5)
    assert result.losses.min() > np.log(2) - 1e-12
    np.testing.assert_allclose(result.y, 0.5, atol=0.01)
    assert result.right.max() <= 3
    assert best_line == 3
    assert all(np.all(gradient == 0) for gradient in gradients)


@pytest.mark.parametrize("seed", range(10))
def test_the_network_learns_xor_from_every_seed(net, seed):
    result = lesson.xor_learnt(net, EPOCHS, seed)
    assert (result.y > 0.5).astype(int).tolist() == GATES["XOR"]
    assert result.losses[-1] < 0.1


def test_training_the_network_equals_gradient_descent_in_numpy(net):
    X, t = lesson.X_ROWS, lesson.TARGETS["XOR"]
    W, b, V, c = lesson.net_start(seed=3)
    eta = lesson.LEARNING_RATE
    result = lesson.learn(net, [W, b, V, c], t, 20)
    for loss in result.losses:
        h, y = numpy_net(X, W, b, V, c)
        np.testing.assert_allclose(loss, -np.mean(np.log(np.where(t == 1, y, 1 - y))))
        d_out = (y - t) / 4  # (4,)
        d_hidden = np.outer(d_out, V) * (1 - h**2)  # (4, units)
        W, b = W - eta * X.T @ d_hidden, b - eta * d_hidden.sum(axis=0)
        V, c = V - eta * h.T @ d_out, c - eta * d_out.sum()
    for learnt, by_hand in zip(result.weights, (W, b, V, c), strict=True):
        np.testing.assert_allclose(learnt, by_hand, rtol=1e-10)
    np.testing.assert_allclose(result.y, numpy_net(X, W, b, V, c)[1])


def test_a_network_that_starts_at_zero_never_moves_on_xor(net):
    start = [np.zeros_like(value) for value in lesson.net_start(1)]
    result = lesson.learn(net, start, lesson.TARGETS["XOR"], 5)
    assert all(np.all(value == 0) for value in result.weights)


def test_hidden_units_that_start_equal_stay_equal(net):
    start = [np.full_like(value, 0.3) for value in lesson.net_start(1)]
    W, b, V, _ = lesson.learn(net, start, lesson.TARGETS["XOR"], 20).weights
    for values in (W[0], W[1], b, V):
        np.testing.assert_allclose(values, values[0], rtol=1e-12)
    assert np.abs(W - 0.3).max() > 1e-3


def test_learning_twice_from_the_same_start_gives_the_same(net):
    t = lesson.TARGETS["XOR"]
    first, second = (lesson.learn(net, lesson.net_start(4), t, 10).losses for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_the_gradients_change_no_weight(net):
    start = lesson.net_start(seed=2)
    lesson.set_weights(net, start)
    net.gradients(lesson.X_ROWS, lesson.TARGETS["XOR"])
    for w, value in zip(net.weights, start, strict=True):
        np.testing.assert_array_equal(w.get_value(), value)


def test_central_differences_are_exact_on_a_quadratic():
    at = np.array([[1.0, -2.0], [0.5, 3.0]])
    gradients = lesson.central_differences(lambda p: float((p**2).sum()), at)
    np.testing.assert_allclose(gradients, 2 * at, rtol=1e-8)


def test_the_gradient_of_the_unit_is_the_same_three_ways(unit):
    automatic, numeric, formula = lesson.gradient_of_unit(unit).T
    np.testing.assert_allclose(automatic, numeric, atol=1e-9)
    np.testing.assert_allclose(automatic, formula, rtol=1e-12)
    assert np.abs(automatic).min() > 1e-3  # zeros would agree as well


def test_the_gradient_of_the_network_equals_central_differences(net):
    assert lesson.gradient_of_net(net) < 1e-8


def test_a_wrong_gradient_shows_in_central_differences(net):
    def too_steep(X, t):
        loss, *gradients = net.gradients(X, t)
        return [loss, *(2 * gradient for gradient in gradients)]

    assert lesson.gradient_of_net(net._replace(gradients=too_steep)) > 1e-3


def test_verify_grad_accepts_the_unit():
    lesson.gradient_verified()


def test_the_mistakes_raise_the_errors_that_the_lesson_names(capsys):
    errors = lesson.errors_shown()
    expected = [
        "TypeError: Missing input: t",
        "MissingInputError: ",
        "TypeError: Matrix(float32",
        "TypeError: Vector(int64",
        "TypeError: An update must have the same type",
        "TypeError: Cost must be a scalar",
        "DisconnectedInputError: ",
    ]
    for error, beginning in zip(errors, expected, strict=True):
        assert error.startswith(beginning)
        assert len(error) < 120
        assert "\n" not in error
    assert capsys.readouterr().out.count("Fix: ") == len(expected)


def test_a_mistake_that_raises_nothing_is_not_a_caught_mistake():
    with pytest.raises(AssertionError, match="nothing wrong: no error"):
        lesson.caught("nothing wrong", "", lambda: None)


def test_the_silent_mistakes_do_what_the_lesson_says():
    seen = lesson.silence_shown()
    assert seen["forgetful_first"] == seen["forgetful_last"] == pytest.approx(np.log(2))
    assert seen["returned"] == pytest.approx(np.log(2))
    assert seen["after"] < seen["returned"]
    assert seen["frozen_before"] == seen["frozen_after"]
    assert np.isnan(seen["log_far"])
    assert seen["safe_far"] == 0
    assert seen["log_near"] == pytest.approx(seen["safe_near"])


def test_the_picture_colours_the_square_around_the_four_rows(unit):
    figure, axis = plt.subplots()
    image = lesson.draw_region(axis, unit, [np.array([9.0, 9.0]), -13.5], lesson.TARGETS["AND"])
    assert axis.get_xlim() == axis.get_ylim() == (-0.5, 1.5)
    colours = image.get_array()
    assert colours[-1, -1] > 0.9  # the corner beside the row 1 1, which is top right
    assert max(colours[0, 0], colours[0, -1], colours[-1, 0]) < 0.1
    assert [text.get_text() for text in axis.texts] == ["0", "0", "0", "1"]
    plt.close(figure)


def test_a_region_without_an_edge_is_drawn_without_a_line(unit):
    figure, axis = plt.subplots()
    lesson.draw_region(axis, unit, [np.zeros(2), 5.0], lesson.TARGETS["AND"])
    assert len(axis.texts) == 4
    plt.close(figure)


def test_main_writes_both_figures_and_leaves_floatx_alone(tmp_path, capsys):
    with pytensor.config.change_flags(floatX="float32"):
        lesson.main(epochs=30, figures=str(tmp_path / "figures"), quick=True)
        assert pytensor.config.floatX == "float32"
    for name in ("00_gates.png", "00_xor.png"):
        assert (tmp_path / "figures" / "quick" / name).read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out.count("=== ") == 15


def test_main_refuses_no_epochs(tmp_path):
    with pytest.raises(ValueError, match="--epochs is 0, but must be a positive number"):
        lesson.main(epochs=0, figures=str(tmp_path))


def test_the_defaults_of_main_are_its_options(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["lesson", "--help"])
    with pytest.raises(SystemExit, match="0"):
        lesson._lesson.run(lesson.main)
    text = capsys.readouterr().out
    for option in ("--mode", "--epochs", "--seed", "--figures", "--quick"):
        assert option in text
