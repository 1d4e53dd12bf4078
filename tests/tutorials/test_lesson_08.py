import numpy as np
import pytensor
import pytest
from _lesson import OptionError
from conftest import load_lesson, run_lesson

lesson = load_lesson("08")


@pytest.fixture
def net(quick):
    with pytensor.config.change_flags(floatX="float32"):
        yield quick[0]["nets"]["ifo"]


def test_the_quick_run_draws_and_prints_all_parts(quick):
    found, printed, folder = quick
    assert sorted(p.name for p in folder.iterdir()) == [
        "08_gate_by_gate.png", "08_gates_over_time.png", "08_stream.png",
    ]  # fmt: skip
    for part in range(1, 6):
        assert f"{part}. " in printed
    assert "always saying the mean costs 0.16" in printed
    assert set(found["open"]) == {"io", "ifo"}


def test_the_baseline_is_a_sixth(quick):
    assert quick[0]["baseline"] == pytest.approx(1 / 6, abs=0.004)


def test_gates_explain_the_memory(quick):
    gates = quick[0]["gates"]
    assert gates["i"].shape == gates["c"].shape == (10, lesson.N_HIDDEN)
    written = gates["c"][1:] - gates["f"][1:] * gates["c"][:-1]  # i * g, and abs(g) < 1
    assert (np.abs(written) <= gates["i"][1:] + 1e-6).all()
    assert np.flatnonzero(gates["mark"]).tolist() == [2, 7]


def test_the_memory_at_the_start_is_that_of_the_equations(net):
    net.start(np.random.default_rng(1), lesson.SHUT)
    W_x, W_h, b = (w.get_value() for w in net.params[:3])
    x, _, _ = lesson.sums(np.random.default_rng(0), 100, 10)
    h = c = np.zeros((100, lesson.N_HIDDEN))
    for x_t in x:
        i, f, g, o = np.split(x_t @ W_x + h @ W_h + b, 4, axis=1)
        i, f, o = (1 / (1 + np.exp(-gate)) for gate in (i, f, o))
        c = f * c + i * np.tanh(g)
        h = o * np.tanh(c)
    size, derivative = lesson.at_the_start(net, lesson.SHUT, 10)
    assert size == pytest.approx(np.abs(c).mean(), rel=1e-4)
    assert derivative == pytest.approx((1 - np.tanh(c) ** 2).mean(), rel=1e-4)


def test_the_same_seed_gives_the_same_losses_also_after_another_training(net):
    first = lesson.run(net, 1, 6, 5)
    other = lesson.run(net, 2, 6, 5)
    again = lesson.run(net, 1, 6, 5)
    np.testing.assert_array_equal(first.losses, again.losses)
    assert first.error == again.error != other.error


def test_a_stream_has_the_sum_since_the_last_reset():
    x, t, counts = lesson.stream(np.random.default_rng(0), 20, 200)
    assert counts.all()
    assert {-1, 0, 1} == set(x[:, :, 1].ravel())
    for k in range(20):
        total = 0.0
        for step in range(200):
            number, mark = x[step, k]
            total = 0.0 if mark == -1 else total + number * mark
            assert t[step, k] == pytest.approx(total, abs=1e-5)


def test_options_that_cannot_be_used_are_named(tmp_path):
    for options in ({"n_steps": 1}, {"n_seeds": 0}, {"n_updates": 0}):
        (name,) = options
        with pytest.raises(OptionError, match="--" + name.replace("_", "-")):
            run_lesson(lesson, tmp_path, **options)


@pytest.mark.slow
@pytest.mark.numba
def test_the_lstm_gets_below_a_hundredth_and_elman_and_carousel_stay(tmp_path):
    found, _ = run_lesson(lesson, tmp_path)
    for name in ("ifo", "peepholes"):
        for r in found["open"][name]:
            assert r.error < 0.01
            assert r.solved < 1000
    for name in ("elman", "carousel"):
        assert all(r.error > 0.1 for r in found["open"][name])
    for runs in found["shut"].values():
        assert all(r.error < 0.01 for r in runs)
    assert found["starts"]["carousel", 0.0][0] > 20 > 1 > found["starts"]["ifo", 0.0][0]
    without, with_ = found["streams"]["io"], found["streams"]["ifo"]
    assert without["error"][0] < 0.1
    assert without["error"][-1] > 5 * without["error"][0]
    assert with_["error"].max() < 0.1 < without["error"][-1]
    assert without["size"][1] > 3 * without["size"][0]
    assert with_["size"][1] < 2 * with_["size"][0]
