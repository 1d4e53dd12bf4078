import re

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from _lesson import OptionError
from conftest import load_lesson, run_lesson

from symrnn.compiling.modes import QUICK
from symrnn.nn import layers, wrappers
from symrnn.nn.cells import LSTMCell
from symrnn.nn.recurrent import unroll

lesson = load_lesson("14")


@pytest.fixture
def single():
    with pytensor.config.change_flags(floatX="float32"):
        yield


def test_the_quick_run_prints_and_draws_all_parts(quick):
    found, printed, folder = quick
    assert sorted(p.name for p in folder.iterdir()) == ["14_improvements.png", "14_memory.png"]
    for part in ("1. ", "2. ", "3. ", "4. ", "5. ", "4.-7. "):
        assert f"\n{part}" in "\n" + printed
    lines = re.findall(r"^  (\S.*?) +(\d+) +(\d+\.\d) =", printed, re.M)
    assert [name for name, *_ in lines] == [*found["found"]] == ["baseline", "variational dropout"]
    for name, weights, best in lines:
        (run,) = found["found"][name]
        assert int(weights) == 2 * 500 * 64 + 500 + 2 * 64 * 256 + 256
        assert run.valid.min() == pytest.approx(float(best), abs=0.051)


def test_an_untrained_net_gives_all_words_about_the_same_probability(quick):
    before = float(re.search(r"before training (\d+)", quick[1])[1])
    assert before == pytest.approx(500, rel=0.02)


@pytest.fixture(scope="module")
def masked():
    with pytensor.config.change_flags(floatX="float32"):
        return lesson.Net(lesson.ALONG_TIME["new masks on h and c"], 500, lesson.SMALL, QUICK)


def test_a_net_that_is_started_anew_repeats_its_training(quick, masked, single):
    """Weights, states, Adam's state and the generators of the masks are all put back."""
    data = quick[0]["data"]
    first, other, again = (masked.learn(data, np.random.default_rng(s), 2) for s in (1, 2, 1))
    np.testing.assert_array_equal(first.valid, again.valid)
    np.testing.assert_array_equal(first.train, again.train)
    assert not np.allclose(first.valid, other.valid)


def test_nothing_is_dropped_at_inference(quick, masked):
    losses = []
    for _ in range(2):
        for carried in masked.carried_valid:
            carried.reset()
        losses.append(float(masked.evaluate(*quick[0]["data"].valid_batches[0])))
    assert losses[0] == losses[1]


def test_every_validation_pair_that_bigrams_see_is_also_given_to_the_net(quick):
    data = quick[0]["data"]
    pairs = [np.stack(batch).reshape(2, -1) for batch in data.valid_batches]
    expected = np.stack([data.valid[:-1], data.valid[1:]])
    by_pair = [np.sort(all_pairs[0] * 500 + all_pairs[1]) for all_pairs in
               (np.concatenate(pairs, axis=1), expected)]  # fmt: skip
    np.testing.assert_array_equal(*by_pair)


@pytest.mark.parametrize("memory", [False, True])
def test_new_masks_along_time_are_those_of_a_plain_loop(memory):
    """The masks come in beside the gates: what NumPy makes of both is what the scan makes."""
    rng = np.random.default_rng(1)
    cell = LSTMCell(3, 4, rng=rng)
    masked = lesson.MaskedAlongTime(cell, 0.5, rng=rng, memory=memory)
    x = pt.constant(rng.normal(size=(6, 2, 3)))
    drawn = masked.project(x)
    masked.project = lambda _: drawn  # so that it is not drawn again
    h, state = unroll(masked, x)
    zx, h, c = pytensor.function([], [drawn, h, state.c], mode=QUICK)()
    z, m = zx[..., :16], zx[..., 16:]
    assert {*np.unique(m)} == {0.0, 2.0}
    assert (m != m[0]).any()
    h_t = c_t = np.zeros((2, 4))
    for z_t, m_t, expected in zip(z, m, h, strict=True):
        i, f, g, o = np.split(z_t + h_t @ cell.W_h.get_value(), 4, axis=1)
        i, f, o = (1 / (1 + np.exp(-gate)) for gate in (i, f, o))
        c_t = f * c_t + i * np.tanh(g)
        h_t = m_t * o * np.tanh(c_t)
        c_t = m_t * c_t if memory else c_t
        np.testing.assert_allclose(expected, h_t, atol=1e-12)
    np.testing.assert_allclose(c, c_t, atol=1e-12)


def test_if_all_masks_were_the_same_new_masks_on_h_would_be_variational_dropout(monkeypatch):
    """So the two nets of part 5 differ in nothing but when the masks are drawn."""

    def ones_and_zeros(rng, keep, shape):
        units = pt.arange(shape[-1]) % 2
        return pt.broadcast_to(pt.eq(units, 0), tuple(shape))

    for module in (lesson, layers, wrappers):
        monkeypatch.setattr(module, "draw_mask", ones_and_zeros)
    x = np.random.default_rng(2).integers(7, size=(5, 3))
    found = []
    for name in ("new masks on h", "one mask on h"):
        model = lesson.ALONG_TIME[name](7, 4, 4, rng=np.random.default_rng(1))
        state = [carried.state for carried in model.carry(3)]
        z, _ = model.logits(pt.constant(x), initial_state=state, training=True)
        found.append(pytensor.function([], z, mode=QUICK)())
    np.testing.assert_allclose(*found, atol=1e-12)


def test_a_value_survives_t_masks_with_the_power_t(quick):
    for rate, (part, square) in quick[0]["alive"].items():
        expected = (1 - rate) ** np.arange(1, 21)
        deviation = np.sqrt(expected * (1 - expected) / 20_000)
        assert (np.abs(part - expected) < 4.5 * deviation).all()
        # each survivor has been multiplied by 1 / (1 - rate) at each step
        np.testing.assert_allclose(square, part / expected**2, rtol=1e-3)


def test_the_last_word_is_lost_from_layer_to_layer(quick):
    one, two, three = quick[0]["share"]
    assert 0.5 > one > 2 * two > 4 * three > 0


def test_bigrams_are_those_of_a_count_by_hand():
    train, valid = np.array([0, 1, 0, 1, 1, 0, 2]), np.array([0, 1, 2])
    single = np.array([4, 4, 2]) / 10
    p_01 = (2 + 3 * single[1]) / (3 + 3)  # of three pairs that begin with 0, two go on with 1
    p_12 = (0 + 3 * single[2]) / (3 + 3)
    expected = np.exp(-(np.log(p_01) + np.log(p_12)) / 2)
    found = lesson.bigram_perplexity(lesson.Data(train, valid), 3, before=3)
    assert found == pytest.approx(expected)


def test_no_paragraph_is_in_both_parts(monkeypatch):
    topics = "\n\n".join(f"Word{k} is\n here ." for k in [*range(50), *range(50)])
    monkeypatch.setattr(lesson.text, "python_topics", lambda: topics)
    data, vocabulary = lesson.python_words(1, 120, 80, 100)
    assert len(data.train) + len(data.valid) == 200  # 50 times word, is, here, <eos>
    words = vocabulary.decode(data.train)
    assert words.count(lesson.text.EOS) == 30
    assert len({w for w in words if w.startswith("word")}) == 30
    assert (data.valid == vocabulary.unk).sum() == 20  # none of those words was in the first part


def test_options_that_cannot_be_used_are_named(tmp_path):
    for options in ({"n_seeds": 0}, {"epochs": 0}, {"n_train": 0}, {"learning_rate": 0.0}):
        (name,) = options
        with pytest.raises(OptionError, match="--" + name.replace("_", "-")):
            run_lesson(lesson, tmp_path, **options)


@pytest.mark.slow
@pytest.mark.numba
def test_the_full_run_shows_what_the_lesson_says(tmp_path):
    """Python's text differs a little between its versions, so the limits are wide."""
    found, _ = run_lesson(lesson, tmp_path, n_seeds=1)
    best, bigrams, elman, lstm = (perplexity for perplexity, _ in found["grammar"].values())
    assert best < lstm < 1.018 * best
    assert lstm < elman < 1.025 * best < bigrams  # both get near
    best, _, kept, both, new, one = (perplexity for perplexity, _ in found["along_time"].values())
    assert best < kept < 1.12 * best
    assert 1.02 * kept < min(new, one)
    assert both > 1.04 * max(new, one)  # c must be left alone
    assert abs(new / one - 1) < 0.05
    runs = {name: run for name, (run,) in found["found"].items()}
    best = {name: run.valid.min() for name, run in runs.items()}
    baseline = runs["baseline"]
    assert baseline.train[-1] < 25 < best["baseline"] < 1.05 * found["bigrams"]
    assert baseline.valid[-1] > 1.2 * best["baseline"]  # it overfits
    assert max(best["dropout"], best["variational dropout"]) < 0.95 * best["baseline"]
    assert best["baseline"] < best["2 layers"]
    assert abs(best["tied weights"] / best["baseline"] - 1) < 0.05
    n_weights = {name: net.model.n_params for name, net in found["nets"].items()}
    assert n_weights["tied weights"] == n_weights["baseline"] - 32_000
