import math
import re
from collections import Counter

import numpy as np
import pytensor
import pytest
from conftest import load_lesson, run_lesson

from symrnn.tasks.english_grammar import english

lesson = load_lesson("13")


def test_the_quick_run_draws_all_figures_and_prints_lines_that_can_be_read(quick):
    assert max(map(len, quick[1].splitlines())) < 200
    figures = sorted(p.stem for p in quick[2].iterdir())
    assert figures == ["13_grammar", "13_tiny", "13_truncation"]


def test_the_target_is_the_sentence_one_word_later(quick):
    ids = quick[0]["tiny"]["ids"]
    x, t = re.findall(r"  [xt]  +\[(.*)\]", quick[1])
    assert x.split(", ") == [str(i) for i in ids[:-1]]
    assert t.split(", ")[:-1] == x.split(", ")[1:]
    assert len(quick[0]["tiny"]["vocabulary"]) == 7
    assert len(ids) == 8


def test_one_word_does_not_tell_what_follows_say_but_a_state_does(quick):
    table = quick[0]["tiny"]["table"]
    assert table["any word"][2] == pytest.approx(7)
    nats, bits, perplexity = table["bigram counts"]
    assert nats == pytest.approx(2 * math.log(2) / 7)
    assert bits == pytest.approx(2 / 7)
    assert perplexity == pytest.approx(2 ** (2 / 7))
    assert 2 ** (2 / 7) < table["one word at a time"][2] < 1.25
    assert table["Elman"][2] < 1.02
    says = quick[0]["tiny"]["says"]["one word at a time"]
    np.testing.assert_allclose(says[1], says[5], rtol=1e-12)  # both after "say"


def test_bigrams_are_shares_of_counted_pairs():
    ids = np.random.default_rng(0).integers(4, size=200)
    pairs = Counter(zip(ids[:-1].tolist(), ids[1:].tolist(), strict=True))
    first = Counter(ids[:-1].tolist())
    p = lesson.bigram(ids[:-1], ids[1:], 4, extra=0.5)
    for (a, b), n in pairs.items():
        assert p[a, b] == pytest.approx((n + 0.5) / (first[a] + 4 * 0.5))
    np.testing.assert_allclose(p.sum(axis=1), 1)


def test_the_missing_part_is_the_gradient_of_finite_differences_in_the_first_segment(quick):
    ids, cut = quick[0]["tiny"]["ids"], quick[0]["cut"]
    with pytensor.config.change_flags(floatX="float64"):
        net = lesson.Tiny(7, np.random.default_rng(1))
    e = net.embedding.params[0].get_value()[ids[:-1]]
    W_x, W_h, b = (w.get_value() for w in (net.cell.W_x, net.cell.W_h, net.cell.b))
    W, b_out = (w.get_value() for w in net.output.params)

    def loss(first, second):
        """Of the second segment, with a W_h for each."""
        h, total = np.zeros(8), 0.0
        for step, e_t in enumerate(e):
            h = np.tanh(e_t @ W_x + h @ (first if step < 4 else second) + b)
            z = h @ W + b_out
            total += (np.log(np.exp(z).sum()) - z[ids[step + 1]]) * (step >= 4) / 3
        return total

    for i in [(0, 0), (1, 3), (7, 2), (4, 4)]:
        d = np.zeros((8, 8))
        d[i] = 1e-5
        missing = (loss(W_h + d, W_h) - loss(W_h - d, W_h)) / 2e-5
        within = (loss(W_h, W_h + d) - loss(W_h, W_h - d)) / 2e-5
        assert cut["missing"][i] == pytest.approx(missing, abs=1e-9)
        assert cut["cut"][i] == pytest.approx(within, abs=1e-9)
        assert cut["whole"][i] == pytest.approx(missing + within, abs=1e-9)


def test_words_between_fall_into_the_groups_with_their_names():
    between = np.array([0, 3, 3, 4, 5, 6, 8, 9, 40])
    shares = np.arange(9) / 100
    np.testing.assert_allclose(lesson.by_distance(between, shares), [0, 1.5, 3.5, 5.5, 7.5])
    assert len(lesson.BETWEEN) == 5


def test_a_stream_is_read_to_its_end_and_each_begins_with_zeros():
    with pytensor.config.change_flags(floatX="float32"):
        net = lesson.Net(52, 16, np.random.default_rng(1), "QUICK")
    ids = english().sample(241, rng=np.random.default_rng(2))
    whole, segments = net.says(ids, 60), net.says(ids, 20)
    assert whole.shape == (240, 52)
    np.testing.assert_allclose(whole[60:80], segments[60:80], rtol=1e-5)
    np.testing.assert_allclose(net.says(ids[60:121], 60), whole[60:120], rtol=1e-5)
    assert np.abs(whole[80] - segments[80]).max() > 1e-4


def test_every_training_begins_with_the_same_weights_and_a_reset_changes_it():
    with pytensor.config.change_flags(floatX="float32"):
        net = lesson.Net(52, 16, np.random.default_rng(1), "QUICK")
    ids = english().sample(241, rng=np.random.default_rng(2))
    once, other = net.train(ids, 4, 20, epochs=2), net.train(ids, 2, 5, epochs=1)
    again, reset = net.train(ids, 4, 20, epochs=2), net.train(ids, 4, 20, epochs=2, reset=True)
    np.testing.assert_array_equal(once, again)
    assert once[1] < once[0] < 60
    assert other[0] not in once
    assert (reset != once).all()


def test_the_gap_is_one_number_in_all_parts(quick):
    found = quick[0]
    net, own = (found["levels"][name] for name in ("Elman net", "grammar, these words"))
    assert found["reached"]["segments of 20"] == pytest.approx(net, rel=1e-12)
    assert found["steps"]["carried"].mean() == pytest.approx(math.log(net / own), rel=1e-5)
    assert f"{net:.3f}, {100 * (net / own - 1):.1f} % above" in quick[1]


@pytest.mark.slow
def test_the_full_lesson_shows_what_its_text_says(tmp_path):
    found, printed = run_lesson(lesson, tmp_path)
    assert found["tiny"]["table"]["one word at a time"][2] == pytest.approx(2 ** (2 / 7), abs=1e-3)
    assert found["tiny"]["table"]["Elman"][2] < 1.001
    levels = found["levels"]
    best = levels["best possible"]
    assert best == pytest.approx(4.850, abs=1e-3)
    assert levels["sees one word, at best"] == pytest.approx(7.089, abs=1e-3)
    assert levels["bigram counts"] == pytest.approx(7.103, abs=1e-3)
    own = levels["grammar, these words"]
    assert own == pytest.approx(4.848, abs=1e-3)
    assert 1.01 * own < levels["Elman net"] < 1.02 * own
    assert levels["Elman net"] < 1.02 * best
    np.testing.assert_allclose(
        found["memory"][[2, 5, 8, 20]], [6.152, 5.067, 4.956, 4.857], atol=6e-4
    )
    cut = found["cut"]
    missing = np.linalg.norm(cut["missing"]) / np.linalg.norm(cut["whole"])
    assert missing == pytest.approx(0.69, abs=0.01)

    carried, used, trained, bound = found["steps"].values()
    assert carried.max() < 0.05
    assert used[0] > 0.7
    assert bound[0] < trained[0] < bound[0] + 0.06
    assert carried[-1] < trained[-1]
    assert trained.mean() == pytest.approx(0.078, abs=0.01)

    reached, fits = found["reached"], found["fits"]
    assert reached["segments of 1"] > 5.4
    assert reached["segments of 5"] < 5.1
    assert reached["segments of 35"] == pytest.approx(reached["segments of 20"], rel=0.01)
    assert max(fits["segments of 1"][2:]) < 40
    assert max(fits["bigram counts"][1:]) < 35
    assert 70 < fits["segments of 5"][-1] < fits["segments of 20"][-1]
    assert "210001 words in 35 streams: 300 segments" in printed
