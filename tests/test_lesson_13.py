import math
import re
from collections import Counter

import numpy as np
import pytest
from conftest import load_lesson, run_lesson

from symrnn import text
from symrnn.tasks.grammar import Grammar, english

lesson = load_lesson("13")

GOLDEN = Grammar({1: {"a": (0.5, 1), "b": (0.5, 2)}, 2: {"a": (1, 1)}}, start=1)


def test_the_quick_run_draws_all_figures_and_prints_lines_that_can_be_read(quick):
    assert max(map(len, quick[1].splitlines())) < 200
    figures = sorted(p.stem for p in quick[2].iterdir())
    assert figures == ["13_grammar", "13_streams", "13_tiny", "13_truncation"]


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


def test_truncation_cuts_the_gradient_by_hand_and_the_missing_part_completes_it(quick):
    cut = quick[0]["cut"]
    assert cut["by hand"] < 1e-15
    assert cut["whole"] < 1e-15
    assert cut["missing"] > 0.1


def test_the_gradient_of_a_piece_equals_finite_differences_with_its_first_state_held():
    rng = np.random.default_rng(0)
    W_h, inputs, h_0 = rng.normal(size=(3, 3)) / 2, rng.normal(size=(5, 3)), rng.normal(size=3)
    weights = rng.normal(size=(5, 3))  # the loss is the sum of weights * h

    def states(W_h, h_0):
        h = [h_0]
        for x in inputs:
            h.append(np.tanh(x + h[-1] @ W_h))
        return np.array(h)

    d_W_h, d_h_0 = lesson.back_through(states(W_h, h_0), W_h, weights, 0.0)
    for i in np.ndindex(3, 3):
        e = np.zeros((3, 3))
        e[i] = 1e-6
        up, down = ((weights * states(W_h + s * e, h_0)[1:]).sum() for s in (1, -1))
        assert d_W_h[i] == pytest.approx((up - down) / 2e-6, abs=1e-8)
    for i, e in enumerate(1e-6 * np.eye(3)):
        up, down = ((weights * states(W_h, h_0 + s * e)[1:]).sum() for s in (1, -1))
        assert d_h_0[i] == pytest.approx((up - down) / 2e-6, abs=1e-8)


def test_the_best_with_one_word_is_the_bigram_entropy_and_more_words_come_down_to_the_rate():
    grammar = english()
    losses = lesson.best_with_words(grammar, 6)
    assert losses[0] == pytest.approx(grammar.bigram_entropy, abs=1e-7)
    assert (np.diff(losses) < 0).all()
    assert losses[-1] > grammar.entropy_rate


def test_the_best_with_n_words_equals_a_sum_over_all_texts():
    by_text = []
    for n in (1, 2, 3):
        p = {}  # of each text of n + 1 words, from the long run on
        for text_ in np.ndindex((2,) * (n + 1)):
            belief = GOLDEN.stationary
            for word in text_:
                moved = np.zeros(2)
                for s, state in enumerate(GOLDEN.states):
                    for name, (chance, following) in GOLDEN.rules[state].items():
                        if name == GOLDEN.words[word]:
                            moved[GOLDEN.states.index(following)] += belief[s] * chance
                belief = moved
            p[text_] = belief.sum()
        before = Counter()
        for text_, chance in p.items():
            before[text_[:-1]] += chance
        by_text.append(-sum(c * math.log(c / before[w[:-1]]) for w, c in p.items() if c > 0))
    np.testing.assert_allclose(lesson.best_with_words(GOLDEN, 3), by_text, atol=1e-7)


def test_places_follow_the_text_row_by_row():
    grammar = english()
    ids = grammar.sample(np.random.default_rng(1), 2001)
    where = lesson.places(grammar, ids, rows=10)
    t = np.concatenate([t for _, t in text.streams(ids, 10, 50)])
    p = np.take_along_axis(where.exact, t[:, :, None], axis=2)[:, :, 0]
    np.testing.assert_allclose(np.log(p).T.ravel(), grammar.log_probabilities(ids)[1:])


def test_words_between_are_those_since_the_subject_and_kinds_are_as_named():
    words = ["the", "dog", "near", "many", "doors", "sleeps", "because", "it", "is", "red", "<eos>"]
    words += ["some", "girls", "see", "a", "cat"]
    grammar = english()
    where = lesson.places(grammar, grammar.encode(words), rows=1)
    told = dict(
        zip(words[1:], zip(where.kind[:, 0], where.between[:, 0], strict=True), strict=True)
    )
    assert told["near"] == ("what follows the subject", 0)
    assert told["sleeps"] == ("what follows the subject", 3)
    assert told["see"] == ("what follows the subject", 0)
    assert told["many"] == told["doors"] == told["cat"] == ("inside a noun phrase", -1)
    assert told["because"] == ("end, adverb, because", -1)
    assert told["it"] == told["red"] == ("after is, are and because", -1)
    assert told["some"] == ("first word of a sentence", -1)
    assert {lesson.kind_of(s) for s in grammar.states} == {
        "what follows the subject", "inside a noun phrase", "end, adverb, because",
        "after is, are and because", "first word of a sentence", "verb in a clause",
    }  # fmt: skip


def test_who_knows_the_grammar_loses_nothing_and_its_verbs_fit():
    grammar = english()
    where = lesson.places(grammar, grammar.sample(np.random.default_rng(1), 4001), rows=10)
    np.testing.assert_array_equal(lesson.divergence(where.exact, where.exact), 0)
    np.testing.assert_allclose(lesson.agreement(grammar, where.exact, where), 1)
    any_word = np.full_like(where.exact, 1 / len(grammar.words))
    loss = lesson.entropy(where.exact) + lesson.divergence(where.exact, any_word)
    np.testing.assert_allclose(loss, math.log(52))
    assert max(lesson.agreement(grammar, any_word, where)) < 0.4


def test_without_a_reset_the_pieces_of_a_text_are_read_as_one():
    net = lesson.Net(52, np.random.default_rng(1), lesson.QUICK)
    ids = english().sample(np.random.default_rng(2), 241)
    whole, pieces = (text.streams(ids, 4, n) for n in (60, 20))
    np.testing.assert_allclose(net.says(pieces), net.says(whole), rtol=1e-5)
    np.testing.assert_array_equal(net.says(whole), net.says(whole))
    reset = net.says(pieces, reset=True)
    np.testing.assert_allclose(reset[:20], net.says(whole)[:20], rtol=1e-5)
    assert np.abs(reset[20] - net.says(whole)[20]).max() > 1e-4


def test_runs_hold_equal_what_the_text_says(quick):
    runs = quick[0]["runs"]
    assert set(runs) == {(700, 1), (140, 5), (35, 20), (20, 35), (35, 1), (35, 5), (35, 35)}
    assert {r.n_updates for (rows, steps), r in runs.items() if rows * steps == 700} == {2}
    assert [runs[35, n].n_updates for n in lesson.LENGTHS] == [40, 8, 2, 2]


@pytest.mark.slow
def test_the_full_lesson_shows_what_its_text_says(tmp_path):
    found, printed = run_lesson(lesson, tmp_path)
    assert found["tiny"]["table"]["one word at a time"][2] == pytest.approx(2 ** (2 / 7), abs=1e-3)
    assert found["tiny"]["table"]["Elman"][2] < 1.001
    best = found["levels"]["best possible"]
    assert best == pytest.approx(4.850, abs=1e-3)
    assert found["levels"]["best that sees one word"] == pytest.approx(7.089, abs=1e-3)
    assert found["levels"]["bigram counts, validation"] == pytest.approx(7.103, abs=1e-3)
    assert 1.01 * best < found["run"].perplexity[-1] < 1.03 * best
    np.testing.assert_allclose(
        found["memory"][[1, 4, 7, 19]], [6.152, 5.067, 4.956, 4.857], atol=6e-4
    )
    share, mean, part = found["kinds"]["what follows it, words between"]
    assert share < 0.1 < 0.3 < part
    assert mean == pytest.approx(0.073, abs=0.03)
    assert found["cut"]["missing"] == pytest.approx(0.69, abs=0.01)
    before, after = found["reached"].values()
    assert before[20] > 0.4
    assert after[5] < 0.4
    assert after[35] < 0.01

    carried, used, trained, bound = found["steps"].values()
    assert carried.max() < 0.04
    assert used[0] > 0.7
    assert bound[0] < trained[0] < bound[0] + 0.06
    assert carried[-1] < trained[-1]

    perplexity = {key: run.perplexity[-1] for key, run in found["runs"].items()}
    assert perplexity[700, 1] > 5.4
    assert perplexity[140, 5] < 5.1
    assert perplexity[35, 5] < 1.01 * min(perplexity.values())
    assert perplexity[700, 1] > perplexity[35, 1] > 5.2 > perplexity[35, 35] > perplexity[35, 20]
    agreed = found["agreed"]
    assert max(agreed["pieces of 1"][2:]) < 0.4
    assert max(agreed["bigram counts"][1:]) < 0.35
    assert 0.7 < agreed["pieces of 5"][-1] < agreed["pieces of 20"][-1]
    assert "210001 words in 35 rows" in printed
