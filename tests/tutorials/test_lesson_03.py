import contextlib
import io

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from conftest import load_lesson

lesson = load_lesson("03")

CELLS = ["ElmanCell", "LSTMCell", "GRUCell"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The lesson, run once: what it returned, what it printed, and where its figures are."""
    folder = tmp_path_factory.mktemp("figures")
    with contextlib.redirect_stdout(io.StringIO()) as out:
        found = lesson.main(quick=True, figures=str(folder))
    return found, out.getvalue(), folder / "quick"


@pytest.fixture
def compiled(run):
    """The cells with their compiled functions, which take any weights and sizes."""
    return run[0]["compiled"]


def draw(cell, n_in, n_hidden, seed):
    """Give the cell new weights, biases included, and return a sequence."""
    rng = np.random.default_rng(seed)
    for w, new in zip(cell.params, type(cell)(n_in, n_hidden, rng=rng).params, strict=True):
        w.set_value(rng.normal(size=new.get_value().shape) * 0.5)
    return rng.normal(size=(6, 3, n_in))


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize(("n_in", "n_hidden"), [(2, 3), (1, 1), (4, 2)])
def test_cells_by_hand_equal_the_library_in_outputs_and_gradients(compiled, name, n_in, n_hidden):
    cell, ways = compiled[name]
    x = draw(cell, n_in, n_hidden, seed=n_in)
    by_hand = ways["by hand"](x)
    for way in ("scan", "kernel"):
        result = ways[way](x)
        assert len(result) == 1 + len(cell.params)
        for got, expected in zip(result, by_hand, strict=False):
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", CELLS)
def test_one_step_and_one_sample_give_the_same_gradients_too(compiled, name):
    cell, ways = compiled[name]
    x = draw(cell, 2, 3, seed=5)[:1, :1]
    for got, expected in zip(ways["kernel"](x), ways["by hand"](x), strict=False):
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)


def test_gradients_in_numpy_equal_finite_differences_and_both_backward_passes(compiled):
    cell, ways = compiled["ElmanCell"]
    x = draw(cell, 2, 3, seed=1)
    weights = [w.get_value() for w in cell.params]
    by_hand = lesson.elman_gradients(x, *weights)
    for way in ("scan", "kernel"):
        for got, expected in zip(by_hand, ways[way](x), strict=True):
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)

    def cost(weights):
        return (lesson.elman_gradients(x, *weights)[0] ** 2).sum() / 2

    rng, step = np.random.default_rng(2), 1e-6
    direction = [rng.normal(size=w.shape) for w in weights]
    ahead, behind = (
        cost([w + s * d for w, d in zip(weights, direction, strict=True)]) for s in (step, -step)
    )
    derivative = sum((g * d).sum() for g, d in zip(by_hand[1:], direction, strict=True))
    assert (ahead - behind) / (2 * step) == pytest.approx(derivative, rel=1e-7)


@pytest.mark.parametrize("name", CELLS)
def test_the_custom_backward_pass_has_one_product_in_each_loop(compiled, name):
    ways = compiled[name].ways
    products = {way: lesson.products_in_loops(function) for way, function in ways.items()}
    assert products["kernel"] == [1, 1]
    assert products["scan"][0] == 1
    assert products["by hand"][0] == 2
    assert 1 < products["scan"][1] < products["by hand"][1]


def test_a_compiled_cell_takes_large_weights(compiled):
    cell, ways = compiled["GRUCell"]
    lesson.grow(cell, np.random.default_rng(0))
    x = np.random.default_rng(1).normal(size=(2, 3, lesson.N_IN))
    assert ways["kernel"](x)[0].shape == (2, 3, lesson.N_HIDDEN)
    assert lesson.milliseconds(ways["kernel"], x, repeats=1) > 0


def test_the_latch_holds_what_was_written_until_it_is_cleared(compiled):
    lstm = lesson.run_latch(compiled["LSTMCell"])
    gru = lesson.run_latch(compiled["GRUCell"])
    elman = lesson.run_latch(compiled["ElmanCell"])
    value, write, clear, read = lesson.LATCH
    held, memory = 0.0, []
    for v, written, cleared in zip(value, write, clear, strict=True):
        held = np.tanh(v) if written else 0.0 if cleared else held
        memory.append(held)
    memory = np.array(memory)
    np.testing.assert_allclose(lstm["c"], memory, atol=1e-3)
    np.testing.assert_allclose(lstm["h"], read * np.tanh(memory), atol=1e-3)

    before_second_clear = slice(0, np.flatnonzero(clear)[1])
    np.testing.assert_allclose(
        gru["h"][before_second_clear], memory[before_second_clear], atol=1e-3
    )
    np.testing.assert_allclose(gru["h"][14:], np.tanh(value[14]), atol=1e-3)
    assert np.abs(elman["h"] - memory).max() > 0.3


def test_gates_computed_without_a_loop_obey_the_equations(compiled):
    m = lesson.run_latch(compiled["LSTMCell"])
    c_before = np.concatenate([[0], m["c"][:-1]])
    np.testing.assert_allclose(m["c"], m["f"] * c_before + m["i"] * m["g"], atol=1e-12)
    np.testing.assert_allclose(m["h"], m["o"] * np.tanh(m["c"]), atol=1e-12)
    m = lesson.run_latch(compiled["GRUCell"])
    h_before = np.concatenate([[0], m["h"][:-1]])
    np.testing.assert_allclose(m["h"], (1 - m["u"]) * m["n"] + m["u"] * h_before, atol=1e-12)


def test_a_cell_of_ones_own_equals_a_numpy_loop(compiled):
    cell, ways = compiled["PaceCell"]
    x = draw(cell, 2, 3, seed=3)
    W_x, W_h, b, a = (w.get_value() for w in cell.params)
    h, k, expected = np.zeros((3, 3)), lesson.sigmoid(a), []
    for x_t in x:
        h = k * h + (1 - k) * np.tanh(x_t @ W_x + h @ W_h + b)
        expected.append(h)
    kernel = ways["kernel"](x)
    np.testing.assert_allclose(kernel[0], expected, rtol=0, atol=1e-12)
    for got, wanted in zip(kernel, ways["scan"](x), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-12)
    assert np.abs(kernel[4]).min() > 0  # the gradient reaches a
    assert lesson.products_in_loops(ways["kernel"]) == [1, 1]


def test_the_lesson_prints_what_it_found(run):
    found, out, _ = run
    assert max(found["differences"].values()) < 1e-12
    for part in range(1, 11):
        assert f"\n{part}. " in f"\n{out}"
    for name in CELLS:
        assert list(found["times"][name]) == ["by hand", "scan", "kernel"]
        for milliseconds in found["times"][name].values():
            assert f" {milliseconds:.2f}\n" in out


def test_the_lesson_writes_three_figures(run):
    files = sorted(run[2].iterdir())
    assert [f.name for f in files] == ["03_backward_pass.png", "03_gates.png", "03_times.png"]
    assert all(f.read_bytes().startswith(b"\x89PNG") for f in files)


def test_the_lesson_leaves_the_configuration_as_it_was(run):
    assert pytensor.config.floatX == "float64"


def test_differences_above_rounding_stop_the_lesson():
    one = [np.ones(3)]
    assert lesson.largest_difference(one, [np.ones(3) + 1e-14]) < 1e-13
    with pytest.raises(AssertionError):
        lesson.largest_difference(one, [np.ones(3) + 1e-9])


def test_the_product_before_the_loop_changes_no_number():
    rng = np.random.default_rng(4)
    cell = lesson.sr.ElmanCell(2, 3, rng=rng)
    x = pt.tensor3("x")
    graphs = [f(x, *cell.params)[0] for f in (lesson.elman_by_hand, lesson.elman_product_outside)]
    inside, outside = pytensor.function([x], graphs, mode="FAST_COMPILE")(
        rng.normal(size=(4, 2, 2))
    )
    np.testing.assert_allclose(inside, outside, rtol=0, atol=1e-14)
