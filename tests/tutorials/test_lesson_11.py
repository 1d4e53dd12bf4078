import re

import numpy as np
import pytensor
import pytest
from conftest import load_lesson, run_lesson

from symrnn.compiling.modes import QUICK
from symrnn.training.losses import categorical_cross_entropy

lesson = load_lesson("11")


@pytest.fixture(scope="module")
def data():
    return lesson.make_data(np.random.default_rng(0), n_train=60)


def test_the_table_has_a_line_for_each_variant_and_the_figures_are_there(quick):
    found, printed, folder = quick
    lines = re.findall(
        r"^  (\S.*?) +(\d\.\d\d) +(\d\.\d\d) +(\d\.\d\d) +(\d+\.\d) \+-", printed, re.M
    )
    assert [name for name, *_ in lines] == [*found["summaries"]]
    assert [*found["summaries"]] == [*lesson.QUICK_REMEDIES, "early stopping", "ensemble of 2"]
    for name, last_train, best, last, accuracy in lines:
        s = found["summaries"][name]
        shown = s.train[:, -1], s.valid.min(axis=1), s.valid[:, -1], 100 * s.accuracy
        for value, text in zip(shown, (last_train, best, last, accuracy), strict=True):
            assert value.mean() == pytest.approx(float(text), abs=0.051)
    assert sorted(p.name for p in folder.iterdir()) == ["11_curves.png", "11_scaling.png"]


def test_all_variants_begin_with_the_same_weights_and_data(quick):
    """So weight decay is all that differs from no remedy; early stopping has not stopped yet."""
    s = quick[0]["summaries"]
    np.testing.assert_array_equal(s["early stopping"].valid, s["no remedy"].valid)
    first = [s[name].train[0, 0] for name in ("no remedy", "weight decay")]
    assert 0 < abs(first[1] - first[0]) < 0.02


def test_the_ensemble_is_the_mean_of_the_probabilities(quick):
    found = quick[0]["found"]
    alone, together = found["no remedy"][0], found["ensemble of 2"][0]
    other = 2 * together.valid - alone.valid  # the second member
    np.testing.assert_allclose(other.sum(axis=-1), 1)
    assert (other > 0).all()
    members = [lesson.Run(*(p.copy() for p in alone)), alone._replace(test=1 - alone.test)]
    np.testing.assert_allclose(lesson.ensemble(members).test, 0.5)
    np.testing.assert_allclose(lesson.ensemble(members).train, alone.train)


def test_the_cross_entropy_is_that_of_the_library():
    rng = np.random.default_rng(0)
    p, t = rng.dirichlet(np.ones(4), size=(3, 7)), rng.integers(4, size=7)
    ours = lesson.cross_entropy(p, t)
    assert ours.shape == (3,)
    for k in range(3):
        theirs = categorical_cross_entropy(np.log(p[k]), t).eval(mode=QUICK)
        assert ours[k] == pytest.approx(float(theirs))


def test_nobody_can_have_a_lower_expected_loss_than_the_floor():
    rng = np.random.default_rng(0)
    x, t = lesson.rotation(50_000, rng=rng, noise=0, label_noise=lesson.WRONG)
    q = np.full((50_000, 4), lesson.WRONG / 3)
    q[np.arange(50_000), lesson.best_guess(x)] = 1 - lesson.WRONG
    assert lesson.cross_entropy(q, t) == pytest.approx(lesson.FLOOR, abs=0.01)


@pytest.mark.parametrize("remedy", ["variational dropout", "batch normalisation"])
def test_a_net_that_is_started_anew_repeats_its_training(quick, remedy, data):
    """Weights, Adam's state, generators and running means are all put back."""
    net = quick[0]["nets"][remedy]
    runs = [lesson.learn(net, data, seed, epochs=2) for seed in (1, 2, 1)]
    for first, other, again in zip(*runs, strict=True):
        np.testing.assert_array_equal(again, first)
        assert not np.allclose(other, first)
    np.testing.assert_array_equal(
        net.predict(data.x), net.predict(data.x)
    )  # no dropout at inference


class Fake:
    """A net whose validation loss falls twice and then rises."""

    remedy = "none"

    def __init__(self):
        self.weight = pytensor.shared(np.array(0.0), name="w")
        self.params = [self.weight]

    def step(self, x, t):
        self.weight.set_value(self.weight.get_value() + 0.5)  # two batches an epoch
        return 0.0

    def predict(self, x):
        right = {1: 0.6, 2: 0.7}.get(int(self.weight.get_value()), 0.5)
        p = np.full((x.shape[1], 4), (1 - right) / 3)
        p[:, 0] = right
        return p


def test_early_stopping_ends_with_the_best_weights_and_their_curve_goes_on(data, monkeypatch):
    monkeypatch.setattr(lesson, "start_anew", lambda net, rng: None)
    data = data._replace(t=np.zeros(60, int), valid_t=np.zeros(200, int))
    run = lesson.learn(Fake(), data, 0, epochs=9, patience=3)
    np.testing.assert_allclose(run.valid[:, 0, 0], [0.6, 0.7, 0.5, 0.5, 0.5, 0.7, 0.7, 0.7, 0.7])
    np.testing.assert_allclose(run.train[:, 0, 0], run.valid[:, 0, 0])
    assert run.test[0, 0] == 0.7
    run = lesson.learn(Fake(), data, 0, epochs=4)
    assert run.test[0, 0] == run.valid[-1, 0, 0] == 0.5


def test_scalers_do_to_the_training_set_what_they_say_and_the_same_to_others():
    X = lesson.raw_readings(lesson.rotation(100, rng=np.random.default_rng(0))[0])
    other = lesson.raw_readings(lesson.rotation(50, rng=np.random.default_rng(1))[0])
    scaled = {name: fit(X)(X).reshape(-1, 2) for name, fit in lesson.SCALERS.items()}
    np.testing.assert_array_equal(scaled["as they are"], X.reshape(-1, 2))
    np.testing.assert_array_equal(scaled["min-max"].min(axis=0), 0)
    np.testing.assert_array_equal(scaled["min-max"].max(axis=0), 1)
    np.testing.assert_allclose(scaled["z-score"].mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(scaled["z-score"].std(axis=0), 1)
    np.testing.assert_allclose(scaled["PCA whitening"].mean(axis=0), 0, atol=1e-11)
    np.testing.assert_allclose(np.cov(scaled["PCA whitening"].T), np.eye(2), atol=1e-12)
    for name, fit in lesson.SCALERS.items():
        together = fit(X)(np.concatenate([X, other], axis=1))  # each row by itself
        np.testing.assert_allclose(together[:, :100].reshape(-1, 2), scaled[name])
        np.testing.assert_allclose(together[:, 100:], fit(X)(other))
    assert abs(np.cov(lesson.whitening(X)(other).reshape(-1, 2).T) - np.eye(2)).max() > 1e-3


@pytest.mark.slow
def test_the_full_run_shows_what_the_lesson_says(tmp_path):
    found, _ = run_lesson(lesson, tmp_path)
    s = found["summaries"]
    last = {name: v.valid[:, -1].mean() for name, v in s.items()}
    right = {name: v.accuracy.mean() for name, v in s.items()}
    plain = s["no remedy"]
    assert plain.train[:, -1].mean() < 0.05
    assert plain.valid.min(axis=1).mean() < 1.2 < 2.0 < last["no remedy"]
    for name in ("weight decay", "variational dropout", "label smoothing", "early stopping"):
        assert last[name] < 1.5
    assert last["dropout"] > 1.7
    assert last["ensemble of 4"] < last["no remedy"] - 0.5
    assert min(last["batch normalisation"], last["layer-normalised cell"]) > last["no remedy"]
    assert max(right, key=right.get) == min(last, key=last.get) == "variational dropout"
    assert right["variational dropout"] > 0.75 > 0.7 > right["no remedy"]
    for name in ("early stopping", "ensemble of 4", "layer normalisation"):
        assert right[name] > right["no remedy"] + 0.03
    early, end = ({k: v[:, e].mean() for k, v in found["scaling"].items()} for e in (2, -1))
    assert early["PCA whitening"] < early["z-score"] - 0.2
    assert end["PCA whitening"] < end["z-score"] < 0.5 < 1.2 < end["min-max"]
    assert end["as they are"] == pytest.approx(np.log(4), abs=0.05)
