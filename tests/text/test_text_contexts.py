from collections import Counter

import numpy as np
import pytest

from symrnn.text import contexts
from symrnn.text.alias_sampler import AliasSampler
from symrnn.text.contexts import (
    cbow_batches,
    cbow_contexts,
    keep_probabilities,
    skip_gram_batches,
    skip_gram_pairs,
)
from symrnn.text.counting import cooccurrences

TOKENS = np.random.default_rng(1).integers(8, size=300)
END = 7


@pytest.mark.parametrize("n", [1, 2, 3, 10, 1000])
def test_the_boxes_draw_with_exactly_the_given_probabilities(n):
    w = np.random.default_rng(n).random(n) ** 8
    w[1::3] = 0
    sampler = AliasSampler(w)
    np.testing.assert_allclose(sampler.probabilities(), w / w.sum(), rtol=1e-12, atol=1e-15)
    assert (sampler.probabilities()[w == 0] == 0).all()


def test_draws_are_as_frequent_as_their_probabilities():
    p, n = np.array([0.5, 0.0, 0.3, 0.15, 0.05]), 200_000
    drawn = AliasSampler(7 * p).draw((2, n // 2), rng=np.random.default_rng(1))
    assert drawn.shape == (2, n // 2)
    assert drawn.dtype == np.int64
    counts = np.bincount(drawn.ravel(), minlength=5)
    assert counts[1] == 0
    assert (np.abs(counts - n * p) <= 5 * np.sqrt(n * p * (1 - p))).all()


def near(tokens, window, reach, end):
    """For each place the words before and after it that the reach takes in."""
    for i, word in enumerate(tokens):
        sides = ([], [])
        for step, side in ((-1, sides[0]), (1, sides[1])):
            for d in range(1, reach[i] + 1):
                j = i + step * d
                if word == end or not 0 <= j < len(tokens) or tokens[j] == end:
                    break
                side.append(int(tokens[j]))
        yield int(word), *sides


@pytest.mark.parametrize("end", [None, END])
@pytest.mark.parametrize("window", [1, 4, 400])
def test_pairs_and_contexts_equal_a_loop_over_places(window, end):
    reach = np.random.default_rng(5).integers(1, window + 1, len(TOKENS))
    expected = list(near(TOKENS, window, reach, end))
    words, others = skip_gram_pairs(TOKENS, window=window, rng=np.random.default_rng(5), end=end)
    pairs = Counter(zip(words.tolist(), others.tolist(), strict=True))
    assert pairs == Counter((w, c) for w, before, after in expected for c in before + after)
    around, middle = cbow_contexts(TOKENS, window=window, rng=np.random.default_rng(5), end=end)
    rows = []
    for word, row in zip(middle.tolist(), around.tolist(), strict=True):
        before = [c for c in row[:window][::-1] if c >= 0]
        rows.append((word, before, [c for c in row[window:] if c >= 0]))
    assert rows == [(w, before, after) for w, before, after in expected if before + after]


def test_pairs_are_on_average_the_counts_with_falling_weights():
    n, window, rng = 1000, 3, np.random.default_rng(1)
    total = np.zeros((8, 8))
    for _ in range(n):
        np.add.at(total, skip_gram_pairs(TOKENS, window=window, rng=rng, end=END), 1 / n)
    expected = cooccurrences(TOKENS, 8, window=window, end=END, falling=True).toarray()
    np.testing.assert_allclose(total, expected, atol=5 * np.sqrt(expected.max() / n))


@pytest.mark.parametrize("piece", [50, 1000])
def test_batches_hold_each_pair_once(monkeypatch, piece):
    monkeypatch.setattr(contexts, "PIECE", piece)
    batches = list(
        skip_gram_batches(TOKENS, window=1, batch_size=32, rng=np.random.default_rng(1), end=END)
    )
    assert {len(w) for w, _ in batches[:-1]} == {32}
    assert 1 <= len(batches[-1][0]) <= 32
    got = Counter(p for w, c in batches for p in zip(w.tolist(), c.tolist(), strict=True))
    expected = Counter()
    for start in range(0, len(TOKENS), piece):
        w, c = skip_gram_pairs(
            TOKENS[start : start + piece], window=1, rng=np.random.default_rng(1), end=END
        )
        expected.update(zip(w.tolist(), c.tolist(), strict=True))
    assert got == expected
    first = skip_gram_pairs(TOKENS[:50], window=1, rng=np.random.default_rng(1), end=END)
    assert batches[0][0].tolist() != first[0][:32].tolist()  # in another order


def test_batches_of_contexts_belong_together():
    tokens = np.arange(100)
    for around, words in cbow_batches(
        tokens, window=2, batch_size=16, rng=np.random.default_rng(1)
    ):
        assert around.shape == (len(words), 4)
        distance = around - words[:, None]
        assert (np.isin(distance, [-2, -1, 1, 2]) | (around == -1)).all()


def test_frequent_words_are_kept_as_often_as_said():
    tokens = np.repeat([0, 1, 2], [9000, 900, 100])
    keep = keep_probabilities(np.bincount(tokens), threshold=0.01)
    np.testing.assert_allclose(keep, [np.sqrt(0.01 / 0.9), np.sqrt(0.01 / 0.09), 1])
    rng = np.random.default_rng(1)
    words = np.concatenate(
        [w for w, _ in cbow_batches(tokens, window=1, batch_size=64, rng=rng, keep=keep)]
    )
    kept = np.bincount(np.concatenate([words[:, 1][words[:, 1] >= 0], [0]]), minlength=3)
    expected = keep * [9000, 900, 100]
    assert (np.abs(kept - expected) < 5 * np.sqrt(expected) + 2).all()
    assert keep_probabilities([0, 5])[0] == 1


def test_the_end_of_a_sentence_is_never_left_out():
    tokens = np.tile([0, 1, END], 100)
    keep = np.zeros(8)
    keep[:2] = 1
    pairs = set()
    for w, c in skip_gram_batches(
        tokens, window=5, batch_size=10, rng=np.random.default_rng(1), end=END, keep=keep
    ):
        pairs |= set(zip(w.tolist(), c.tolist(), strict=True))
    assert pairs == {(0, 1), (1, 0)}


def test_a_text_of_which_nothing_is_left_has_no_batches():
    rng = np.random.default_rng(1)
    assert list(skip_gram_batches(TOKENS, window=2, batch_size=4, rng=rng, keep=np.zeros(8))) == []
    assert list(skip_gram_batches(TOKENS[:1], window=2, batch_size=4, rng=rng)) == []


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda rng: AliasSampler([]), "must be a row"),
        (lambda rng: AliasSampler([0, 0]), "not all 0"),
        (lambda rng: AliasSampler([1, -1]), "none negative"),
        (lambda rng: AliasSampler([1, np.nan]), "finite"),
        (lambda rng: keep_probabilities([1], threshold=0), "threshold is 0"),
        (lambda rng: keep_probabilities([0]), "there must be words"),
        (lambda rng: keep_probabilities([5, -1]), "none negative"),
        (lambda rng: keep_probabilities([np.inf, 1]), "finite numbers"),
        (lambda rng: keep_probabilities([[1, 2]]), "a row"),
        (lambda rng: skip_gram_pairs(np.array([0, -1, 3]), window=1, rng=rng), "a token is -1"),
        (lambda rng: cbow_contexts(np.array([0, -1, 3]), window=1, rng=rng), "a token is -1"),
        (lambda rng: skip_gram_pairs(TOKENS, window=1, rng=rng, end=-1), "end is -1"),
        (
            lambda rng: skip_gram_batches(
                np.array([0, -1]), window=1, batch_size=4, rng=rng, keep=[1, 1]
            ),
            "the tokens go from -1 to 0",
        ),
        (
            lambda rng: skip_gram_batches(
                np.array([0, 1]), window=1, batch_size=4, rng=rng, end=7, keep=[1, 1]
            ),
            "end is 7, but must be .* from 0 to 1",
        ),
        (
            lambda rng: skip_gram_pairs(TOKENS, window=0, rng=rng),
            "window is 0, but must be a whole number",
        ),
        (
            lambda rng: cbow_contexts(TOKENS, window=0, rng=rng),
            "window is 0, but must be a whole number",
        ),
        (lambda rng: skip_gram_batches(TOKENS, window=0, batch_size=4, rng=rng), "window is 0"),
        (lambda rng: skip_gram_batches(TOKENS, window=2, batch_size=0, rng=rng), "batch_size is 0"),
        (lambda rng: cbow_batches(TOKENS[:0], window=2, batch_size=4, rng=rng), "not be empty"),
        (
            lambda rng: cbow_batches(TOKENS, window=2, batch_size=4, rng=rng, keep=[2.0]),
            "probability for each word",
        ),
        (
            lambda rng: cbow_batches(TOKENS, window=2, batch_size=4, rng=rng, keep=[1.0]),
            "has 1 probabilities",
        ),
    ],
)
def test_bad_input_is_told_before_anything_is_drawn(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.random.default_rng(1))


@pytest.mark.parametrize("end", ["x", 1.0, True])
@pytest.mark.parametrize("call", [skip_gram_pairs, cbow_contexts])
def test_the_end_of_a_sentence_must_be_a_token_id(call, end):
    with pytest.raises(TypeError, match="such as vocabulary"):
        call(TOKENS, window=1, rng=np.random.default_rng(1), end=end)
    batches = skip_gram_batches if call is skip_gram_pairs else cbow_batches
    with pytest.raises(TypeError, match="such as vocabulary"):
        batches(TOKENS, window=1, batch_size=4, rng=np.random.default_rng(1), end=end)
