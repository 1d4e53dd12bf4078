import itertools
import re

import numpy as np
import pytest
from conftest import load_lesson, run_lesson

from symrnn.tasks.binary_addition import binary_addition

pytest.importorskip("joblib")
pytest.importorskip("distributed")
lesson = load_lesson("12")


def test_a_cluster_finds_the_same_as_the_cores(quick):
    found, printed, _ = quick
    assert found["same"] == 4
    assert "random trials with exactly the same loss as before: 4 of 4" in printed
    assert "a worker was killed on the way; all 4 trials are finished" in printed


def test_all_trials_are_finished_and_two_figures_drawn(quick):
    found, printed, folder = quick
    assert [t.index for t in found["trials"]] == list(range(8))
    assert not any(t.error for t in found["trials"])
    assert re.search(
        r"results\.csv begins with\n +index,learning_rate,std,hidden,seed,sums,steps,mode,loss",
        printed,
    )
    assert sorted(p.name for p in folder.iterdir()) == ["12_budget.png", "12_trials.png"]


def test_the_same_call_elsewhere_would_give_the_same(quick):
    trial = quick[0]["trials"][5]
    other = trial.config | {"learning_rate": 0.9, "seed": 5}
    first, _, again = (lesson.train(c)["loss"] for c in (trial.config, other, trial.config))
    assert first == again
    np.testing.assert_allclose(first, trial.metrics["loss"], rtol=1e-10)  # in another process


def test_the_loss_of_an_untrained_net_is_that_of_a_loop_in_numpy():
    config = {"learning_rate": 0.1, "std": 0.7, "hidden": 4, "seed": 3, "sums": 0, "steps": 0}
    config["mode"] = "QUICK"
    rng = np.random.default_rng(3)
    W_x, W_h, W = (rng.normal(0, 0.7, shape) for shape in ((2, 4), (4, 4), (4, 1)))
    x, t = binary_addition(500, rng=np.random.default_rng(0))
    h, costs = np.zeros((500, 4)), []
    for x_t, t_t in zip(x, t, strict=True):
        h = np.tanh(x_t @ W_x + h @ W_h)
        y = 1 / (1 + np.exp(-h @ W))
        costs.append(-np.mean(t_t * np.log(y) + (1 - t_t) * np.log(1 - y)))
    np.testing.assert_allclose(lesson.train(config)["loss"], np.mean(costs), rtol=1e-12)


def test_luck_is_measured_with_seeds_and_sums_that_were_not_used_to_choose():
    for seed in (1, 100):
        trial = lesson.search.Trial(0, {"learning_rate": 0.1, "seed": seed, "sums": 0}, {}, 0.0)
        again = lesson.with_other_seeds([trial], 4)
        assert len({c["seed"] for c in again} | {seed}) == 5
        assert {c["sums"] for c in again} == {1}


def test_the_mean_of_the_lowest_of_k_is_that_over_all_choices():
    values = np.random.default_rng(0).normal(size=7)
    for k, mean in enumerate(lesson.best_of(values), start=1):
        choices = itertools.combinations(values, k)
        np.testing.assert_allclose(mean, np.mean([min(c) for c in choices]))


@pytest.mark.slow
def test_random_search_finds_what_the_grid_misses_and_a_killed_search_goes_on(tmp_path):
    found, printed = run_lesson(lesson, tmp_path)
    n_before, untouched = found["kept"]
    assert n_before == untouched >= 8
    losses = lesson.losses(found["trials"])
    assert losses[:16].min() > 0.2
    assert losses[16:].min() < 0.01
    assert "on average 3 random trials are better than the whole grid" in printed
    assert found["same"] == 16
    means = [mean for _, mean, _ in found["luck"]]
    assert max(means[0], means[2]) < 0.01 < min(means[1], means[3])
    best = sorted(found["trials"][16:], key=lambda t: t.metrics["loss"])[:4]
    assert all(0.145 < t.config["learning_rate"] < 0.235 for t in best)
    assert all(0.195 < t.config["std"] < 0.415 for t in best)
    assert {t.config["hidden"] for t in best} == {4, 16}
