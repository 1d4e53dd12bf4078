import contextlib
import io
import re
from itertools import islice

import numpy as np
import pytensor
import pytest
from conftest import load_lesson, run_lesson

from symrnn.compiling.modes import QUICK
from symrnn.tasks.bit_counting import bit_counting
from symrnn.training import optimizers

lesson = load_lesson("10")


@pytest.fixture(scope="module")
def bits():
    X, t = bit_counting(rng=np.random.RandomState(1))
    return X, t, lesson.bit_counting_surface(X, t, QUICK)


def test_every_optimizer_of_the_library_is_walked():
    names = {
        name
        for name, function in vars(optimizers).items()
        if not name.startswith("_") and "learning_rate" in getattr(function, "__annotations__", {})
    }
    assert names == {optimizer.__name__ for optimizer, _, _ in lesson.OPTIMIZERS.values()}
    assert len(names) == 8


def test_loops_by_hand_equal_the_compiled_optimizers(quick):
    assert set(quick[0]["bowl"]["hand"]) == set(lesson.OPTIMIZERS)
    assert max(quick[0]["bowl"]["hand"].values()) < 1e-12


@pytest.mark.parametrize("name", lesson.OPTIMIZERS)
def test_a_loop_over_many_weights_equals_a_loop_over_each(name):
    _, by_hand, options = lesson.OPTIMIZERS[name]
    starts = np.random.default_rng(0).normal(size=(3, 2))

    def gradient(w):
        return w * np.array([0.1, 2.0])

    together = list(islice(by_hand(gradient, starts, 0.1, **options), 20))[-1]
    for start, end in zip(starts, together, strict=True):
        alone = list(islice(by_hand(gradient, start, 0.1, **options), 20))[-1]
        np.testing.assert_allclose(alone, end, rtol=1e-12)


def test_tables_and_figures_are_there(quick):
    found, printed, folder = quick
    for name in lesson.OPTIMIZERS:
        assert len(re.findall(rf"^   {re.escape(name)} +[\d.e+-]+ ", printed, re.MULTILINE)) == 2
    for name in lesson.SCHEDULES:
        assert re.search(rf"^   {re.escape(name)} ", printed, re.MULTILINE)
    assert sorted(p.stem for p in folder.iterdir()) == [
        "10_bit_counting_paths", "10_bowl_learning_rates", "10_bowl_paths", "10_clipping",
        "10_schedules",
    ]  # fmt: skip
    assert set(found["noisy"]["f"]) == set(lesson.SCHEDULES)


def test_same_seed_same_numbers_other_seed_other_noise(monkeypatch):
    few = {name: lesson.SCHEDULES[name] for name in ("constant 0.5", "cosine")}
    monkeypatch.setattr(lesson, "SCHEDULES", few)
    with contextlib.redirect_stdout(io.StringIO()):
        one, same, other = (
            lesson.with_noise(np.random.default_rng(seed), 2, QUICK)["f"]["cosine"]
            for seed in (1, 1, 2)
        )
    np.testing.assert_array_equal(one, same)
    assert (one[1:] != other[1:]).all()


def test_gradients_of_the_bowl_turned_or_not_equal_finite_differences():
    w = np.array([-7.0, 2.0])
    for degrees in (0, 45):
        surface = lesson.bowl(1, QUICK, degrees)
        f, g = surface(w)
        for i, h in enumerate(1e-5 * np.eye(2)):
            quotient = (surface(w + h)[0] - surface(w - h)[0]) / 2e-5
            assert quotient == pytest.approx(float(g[i]), rel=1e-6)
        if not degrees:
            assert f == pytest.approx(49 / 20 + 4)
    turned = lesson.bowl(1, QUICK, 45)(w @ lesson.turn(45))[0]
    assert turned == pytest.approx(49 / 20 + 4)


def test_bit_counting_by_scan_equals_the_closed_form_and_its_gradient(bits):
    X, t, surface = bits
    for w in ((0.09, 0.0113), (1.0, 1.0), (1.0, 1.4), (0.5, -0.8)):
        cost, g = surface(np.array(w))

        def closed(w_x, w_rec):
            return lesson.bit_counting_cost(X, t, np.array([w_x]), np.array([w_rec]))[0, 0]

        assert closed(*w) == pytest.approx(float(cost), rel=1e-10, abs=1e-10)
        differences = [
            (closed(w[0] + a, w[1] + b) - closed(w[0] - a, w[1] - b)) / 2e-6
            for a, b in ((1e-6, 0), (0, 1e-6))
        ]
        np.testing.assert_allclose(g, differences, rtol=1e-5, atol=1e-5)


def test_the_cost_on_a_grid_has_a_row_for_each_w_rec(bits):
    X, t, surface = bits
    w_x, w_rec = np.array([0.5, 1.0, 1.5]), np.array([0.9, 1.1])
    cost = lesson.bit_counting_cost(X, t, w_x, w_rec)
    assert cost.shape == (2, 3)
    assert cost[1, 0] == pytest.approx(float(surface(np.array([0.5, 1.1]))[0]))


def test_a_walker_forgets_its_last_walk():
    walker = lesson.Walker(optimizers.adam, lesson.BOWL_START, QUICK)
    surface = lesson.bowl(1, QUICK)
    first = walker.walk(surface, 0.1, 10)[1]
    walker.walk(surface, 3.0, 10, (1.0, 1.0))
    np.testing.assert_array_equal(walker.walk(surface, 0.1, 10)[1], first)


def test_a_walk_that_diverges_ends_and_settles_nowhere():
    walker = lesson.Walker(optimizers.gradient_descent, lesson.BOWL_START, QUICK)
    costs, path = walker.walk(lesson.bowl(1, QUICK), 100.0, 30)
    assert len(costs) == len(path) < 31
    assert lesson.settled(costs, 30) == np.inf


def test_what_settles_never_climbs_above_its_start():
    assert lesson.settled(np.array([5.0, 1.0, 3.0, 2.0]), 3) == 2.0
    assert lesson.settled(np.array([5.0, 6.0, 3.0, 2.0]), 3) == np.inf
    ends = np.array([5.0, 0.5, 0.2, np.inf])
    learning_rates = 10.0 ** np.arange(4)
    assert lesson.best(learning_rates, ends) == 100
    assert lesson.powers_of_ten(learning_rates, ends) == pytest.approx(2)


def test_gradient_descent_does_not_notice_that_the_bowl_is_turned(quick):
    bowl = quick[0]["bowl"]
    for name in ("gradient descent", "momentum", "Nesterov"):
        assert bowl["turned"][name] == pytest.approx(bowl["costs"][name][30], rel=1e-6)


def test_a_clipped_stride_is_at_most_learning_rate_times_limit(bits):
    walker = lesson.Walker(optimizers.gradient_descent, lesson.WALL, QUICK, clip=100.0)
    _, path = walker.walk(bits[2], 1e-4, 5)
    np.testing.assert_allclose(np.linalg.norm(np.diff(path, axis=0), axis=1), 0.01, rtol=1e-9)


def test_a_constant_learning_rate_stays_at_the_floor_and_a_schedule_goes_below(quick):
    f = quick[0]["noisy"]["f"]
    assert f["constant 0.5"].shape == (lesson.N_STEPS + 1, 20)
    late = f["constant 0.5"][150:].mean()
    assert late == pytest.approx(lesson.expected_f(0.5, 300), rel=0.1)
    for name in list(lesson.SCHEDULES)[2:]:
        assert np.median(f[name][-20:]) < np.median(f["constant 0.5"][-20:]) / 4


def test_the_expected_f_follows_from_mean_and_variance_step_by_step():
    for eta, n_steps in ((0.1, 5), (0.1, 300), (0.5, 300)):
        f = 0.0
        for h, mean in ((0.1, -7.0), (2.0, 2.0)):
            v = 0.0
            for _ in range(n_steps):
                mean, v = (1 - eta * h) * mean, (1 - eta * h) ** 2 * v + eta**2
            f += h / 2 * (mean**2 + v)
        assert lesson.expected_f(eta, n_steps) == pytest.approx(f, rel=1e-9)


def test_the_lesson_leaves_the_configuration_as_it_was(quick):
    assert pytensor.config.floatX == "float64"
    assert len(quick[0]) == 5


@pytest.mark.slow
def test_the_full_lesson_shows_what_its_text_says(tmp_path):
    found, _ = run_lesson(lesson, tmp_path)
    bowl, bits, noisy = found["bowl"], found["bits"], found["noisy"]
    assert max(bowl["hand"].values()) < 1e-12
    needed = {name: np.argmax(costs < 0.01) for name, costs in bowl["costs"].items()}
    assert needed["gradient descent"] == 36
    assert needed["Adam"] == 50
    for name in ("AdaGrad", "AdaDelta", "RMSProp", "RMSProp centred", "RMSProp Nesterov"):
        assert 5 <= needed[name] <= 12
    for name in ("RMSProp", "RMSProp centred", "RMSProp Nesterov"):
        assert 0.05 < bowl["costs"][name][100] < 0.2
    assert bowl["costs"]["AdaGrad"][30] < 1e-20
    assert bowl["turned"]["AdaGrad"] > bowl["turned"]["gradient descent"] > 0.02

    settles = {name: ends.min() for name, ends in bits["ends"].items()}
    assert settles["Adam"] < 1e-5
    assert settles["momentum"] < 1e-3
    assert all(settles[name] > 1e-4 for name in settles if name not in ("Adam", "momentum"))
    assert settles["AdaDelta"] > 1
    np.testing.assert_allclose(bits["paths"]["Adam"][-1], [1, 1], atol=1e-3)

    good = {how: [e < 1 for e in ends.values()] for how, ends in found["clipping"].items()}
    both = {how: (slope & wall).sum() for how, (slope, wall) in good.items()}
    assert both["plain"] == 0
    assert both["clip 100"] >= 2
    assert both["clip 1"] >= 1
    lowest = {
        how: {where: e.min() for where, e in v.items()} for how, v in found["clipping"].items()
    }
    assert lowest["plain"]["slope"] < lowest["clip 100"]["slope"] / 2 < lowest["clip 1"]["slope"]
    assert lowest["clip 100"]["wall"] < lowest["clip 1"]["wall"]

    medians = {name: np.median(f[-1]) for name, f in noisy["f"].items()}
    assert noisy["f"]["constant 0.5"][150:].mean() == pytest.approx(0.378, abs=0.02)
    for name in list(lesson.SCHEDULES)[2:]:
        assert 0.01 < medians[name] < 0.025 < medians["constant 0.09"] < medians["constant 0.5"]
    for name, ends in found["warm"].items():
        assert abs((ends < 1).sum() - (bits["ends"][name] < 1).sum()) <= 1
