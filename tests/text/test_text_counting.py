import tracemalloc
from collections import Counter

import numpy as np
import pytest
import scipy.sparse as sp

from symrnn.text import Vocabulary, counting
from symrnn.text.counting import cooccurrences, cosines, ppmi, svd_vectors

RNG = np.random.default_rng(1)
TOKENS = RNG.integers(6, size=200)


def by_loop(tokens, n, window, end=None, falling=False):
    """Look from each place to all places near it."""
    counts = np.zeros((n, n))
    for i, word in enumerate(tokens):
        for step in (-1, 1):
            for d in range(1, window + 1):
                j = i + step * d
                if word == end or not 0 <= j < len(tokens) or tokens[j] == end:
                    break
                counts[word, tokens[j]] += (window + 1 - d) / window if falling else 1
    return counts


@pytest.mark.parametrize("window", [1, 3, 300])
@pytest.mark.parametrize("end", [None, 5])
@pytest.mark.parametrize("falling", [False, True])
def test_counts_equal_a_loop_over_places(window, end, falling):
    counts = cooccurrences(TOKENS, 6, window=window, end=end, falling=falling)
    assert sp.issparse(counts)
    np.testing.assert_allclose(counts.toarray(), by_loop(TOKENS, 6, window, end, falling))


@pytest.mark.parametrize("piece", [1, 7, 199, 200])
def test_counts_do_not_depend_on_the_pieces_that_are_taken(monkeypatch, piece):
    whole = cooccurrences(TOKENS, 6, window=4, end=2).toarray()
    monkeypatch.setattr(counting, "PIECE", piece)
    np.testing.assert_array_equal(cooccurrences(TOKENS, 6, window=4, end=2).toarray(), whole)


def test_the_sentence_of_seven_words():
    words = ["you", "say", "goodbye", "and", "i", "say", "hello", "."]
    v = Vocabulary.build(words, specials=())
    counts = cooccurrences(v.encode(words), len(v), window=1)
    beside = Counter({v.tokens[j]: int(counts[v["say"], j]) for j in range(7)})
    assert +beside == Counter({"you": 1, "goodbye": 1, "i": 1, "hello": 1})
    assert cosines(counts)[v["you"], v["i"]] == pytest.approx(np.sqrt(0.5))


def test_ppmi_equals_its_equation():
    counts = by_loop(TOKENS, 6, 2) * np.random.default_rng(2).integers(2, size=(6, 6)) + np.eye(6)
    for power, shift in ((1, 0), (0.75, 0), (1, np.log(1.5))):
        rows, columns = counts.sum(axis=1), counts.sum(axis=0) ** power
        with np.errstate(divide="ignore"):
            pmi = np.log(counts * columns.sum() / np.outer(rows, columns))
        expected = np.maximum(pmi - shift, 0)
        assert (expected > 0).any()
        np.testing.assert_allclose(
            ppmi(counts, power=power, shift=shift).toarray(), expected, atol=1e-14
        )
        assert ppmi(sp.csr_array(counts), power=power, shift=shift).nnz == np.count_nonzero(
            expected
        )


def test_the_truncated_svd_equals_the_first_columns_of_the_full_one():
    m = ppmi(cooccurrences(RNG.integers(40, size=3000), 40, window=3))
    u, s, _ = np.linalg.svd(m.toarray())
    for power in (0, 0.5, 1):
        x = svd_vectors(m, 5, rng=np.random.default_rng(3), power=power)
        np.testing.assert_allclose(np.abs(x), np.abs(u[:, :5] * s[:5] ** power), atol=1e-10)
        assert (x[np.abs(x).argmax(axis=0), range(5)] > 0).all()
        other_start = svd_vectors(m, 5, rng=np.random.default_rng(4), power=power)
        np.testing.assert_allclose(x, other_start, atol=1e-10)


def test_cosines_are_the_same_sparse_and_dense_and_zero_for_zeros():
    a, b = RNG.normal(size=(5, 3)), RNG.normal(size=(2, 3))
    a[1] = 0
    expected = [[x @ y / np.sqrt((x @ x) * (y @ y)) if x.any() else 0 for y in b] for x in a]
    np.testing.assert_allclose(cosines(a, b), expected)
    np.testing.assert_allclose(cosines(sp.csr_array(a), sp.csr_array(b)), expected)
    assert cosines(a.astype("f4")).dtype == np.float32


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array, sp.csr_matrix, sp.coo_array])
def test_cosines_of_small_whole_numbers_and_of_huge_ones_do_not_overflow(kind):
    whole = np.array([[100, 100], [100, 0], [0, 0]])
    expected = [[1, np.sqrt(0.5), 0], [np.sqrt(0.5), 1, 0], [0, 0, 0]]
    for matrix in (whole.astype(np.int8), 1e198 * whole, 1e-202 * whole):
        np.testing.assert_allclose(cosines(kind(matrix)), expected, rtol=1e-15)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_cosines_stay_within_one_so_that_they_are_those_of_angles(dtype):
    x = RNG.normal(size=(300, 7)).astype(dtype)
    assert np.isfinite(np.arccos(cosines(np.concatenate([x, -x])))).all()
    assert np.isfinite(np.arccos(cosines(sp.csr_array(x)))).all()


@pytest.mark.parametrize("power", [0, 0.5])
def test_columns_beyond_the_rank_are_zero(power):
    a = RNG.normal(size=(8, 2)) @ RNG.normal(size=(2, 6))
    x = svd_vectors(a, 4, rng=np.random.default_rng(1), power=power)
    assert (x[:, 2:] == 0).all()
    assert x[:, :2].any(axis=0).all()


def test_columns_of_equal_singular_values_turn_with_the_start_but_cosines_do_not():
    u, v = np.linalg.qr(RNG.normal(size=(2, 3, 3)))[0]
    m = u * [3, 3, 1] @ v
    one, two = (svd_vectors(m, 2, rng=np.random.default_rng(seed)) for seed in (1, 2))
    assert np.abs(one - two).max() > 1e-3
    np.testing.assert_allclose(cosines(one), cosines(two), atol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cooccurrences(TOKENS, 6, window=0), "window is 0"),
        (lambda: cooccurrences(TOKENS, 5), "from 0 to 5, but must be from 0 to 4"),
        (lambda: cooccurrences(TOKENS[:0], 6), "not be empty"),
        (lambda: cooccurrences(TOKENS, 6, end=6), "end is 6, but must be .* from 0 to 5"),
        (lambda: ppmi(np.zeros((2, 2))), "not all 0"),
        (lambda: ppmi(np.array([1.0, 2])), "must be a matrix"),
        (lambda: ppmi(np.ones((2, 2)), power=np.inf), "power is inf"),
        (lambda: ppmi(np.ones((2, 2)), shift=np.inf), "shift is inf"),
        (lambda: ppmi([[1, -1], [1, 1]]), "none below 0"),
        (lambda: ppmi(np.ones((2, 2)), power=0), "power is 0"),
        (lambda: ppmi(np.ones((2, 2)), shift=-1), "shift is -1"),
        (lambda: svd_vectors(np.ones((3, 3)), 3, rng=RNG), "must be below 3"),
        (lambda: svd_vectors(np.ones((3, 3)), 0, rng=RNG), "n_features is 0"),
        (lambda: svd_vectors(np.zeros((3, 3)), 1, rng=RNG), "not only 0"),
        (lambda: svd_vectors(np.diag([1, 2, np.nan]), 1, rng=RNG), "finite numbers"),
        (lambda: svd_vectors(np.diag([1, 2, np.inf]), 1, rng=RNG), "finite numbers"),
        (lambda: svd_vectors(np.ones((3, 3)), 1, rng=RNG, power=2), "power is 2"),
        (lambda: cosines(np.ones((2, 3)), np.ones((2, 2))), "3 and 2 features"),
        (lambda: cosines(np.ones(3)), r"not shape \(3,\)"),
        (lambda: cosines([[1, np.nan]]), "must be finite"),
        (lambda: cosines(sp.csr_array([[1, np.inf]])), "must be finite"),
    ],
)
def test_bad_input_is_told(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_seed_is_no_generator_and_a_word_no_number():
    with pytest.raises(TypeError, match="default_rng"):
        svd_vectors(np.ones((3, 3)), 1, rng=1)
    with pytest.raises(TypeError, match="end is '<eos>'"):
        cooccurrences(TOKENS, 6, end="<eos>")


@pytest.mark.slow
def test_a_hundred_thousand_words_need_no_dense_square():
    n = 100_000  # a square of float64 would take 80 GB
    rng = np.random.default_rng(1)
    tokens = np.minimum(rng.zipf(1.2, 1_000_000) - 1, n - 1)
    tracemalloc.start()
    counts = cooccurrences(tokens, n, window=2)
    vectors = svd_vectors(ppmi(counts), 50, rng=rng)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert vectors.shape == (n, 50)
    assert peak < 1e9
