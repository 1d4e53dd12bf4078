from collections import Counter
from itertools import pairwise, product

import numpy as np
import pytest

from symrnn.tasks.english_grammar import agreement, english
from symrnn.tasks.grammar import Grammar
from symrnn.text import EOS

TINY = {
    "A": {"x": (0.5, "A"), "y": (0.3, "B"), "z": (0.2, "C")},
    "B": {"x": (0.6, "C"), "y": (0.4, "B")},
    "C": {"z": (0.1, "A"), "x": (0.9, "B")},
}
MEAN = {1: {"a": (0.5, 1), "b": (0.5, 2)}, 2: {"a": (1, 1)}}
LOOP = {1: {"a": (1, 2)}, 2: {"b": (1, 1)}}


@pytest.fixture(scope="module")
def grammar():
    return english()


@pytest.fixture(scope="module")
def text(grammar):
    return grammar.sample(300_000, rng=np.random.default_rng(0))


def _texts(rules, state, length):
    """Yield all texts of so many words that begin in a state, their probabilities and ends."""
    if not length:
        yield (), 1.0, state
        return
    for word, (p, following) in rules[state].items():
        for rest, q, end in _texts(rules, following, length - 1):
            yield (word, *rest), p * q, end


@pytest.mark.parametrize("rules", [TINY, MEAN, LOOP])
def test_the_stationary_distribution_is_what_many_moves_lead_to(rules):
    grammar = Grammar(rules, next(iter(rules)))
    moves = np.zeros((len(rules),) * 2)
    for (s, state), (k, other) in product(enumerate(rules), repeat=2):
        moves[s, k] = sum(p for p, following in rules[state].values() if following == other)
    lazy = (moves + np.eye(len(rules))) / 2  # it may stay, so that the loop settles too
    np.testing.assert_allclose(np.linalg.matrix_power(lazy, 2000)[0], grammar.stationary)


@pytest.mark.parametrize("rules", [TINY, MEAN, LOOP])
def test_all_texts_of_six_words_have_six_times_the_entropy_rate(rules):
    grammar = Grammar(rules, next(iter(rules)))
    entropy = 0.0
    for state, share in zip(grammar.states, grammar.stationary, strict=True):
        for _, p, _ in _texts(rules, state, 6):
            entropy -= share * p * np.log(p)
    assert entropy == pytest.approx(6 * grammar.entropy_rate, abs=1e-12)


@pytest.mark.parametrize("rules", [TINY, MEAN, LOOP])
def test_all_pairs_of_words_have_the_bigram_entropy(rules):
    grammar = Grammar(rules, next(iter(rules)))
    words, pairs = Counter(), Counter()
    for state, share in zip(grammar.states, grammar.stationary, strict=True):
        for pair, p, _ in _texts(rules, state, 2):
            pairs[pair] += share * p
            words[pair[0]] += share * p
    bigram = -sum(p * np.log(p / words[pair[0]]) for pair, p in pairs.items())
    unigram = -sum(p * np.log(p) for p in words.values())
    assert grammar.bigram_entropy == pytest.approx(bigram, abs=1e-12)
    assert grammar.unigram_entropy == pytest.approx(unigram, abs=1e-12)


@pytest.mark.parametrize("rules", [TINY, MEAN, LOOP])
def test_the_best_with_n_words_equals_a_sum_over_all_texts(rules):
    grammar = Grammar(rules, next(iter(rules)))
    by_text = []
    for n in range(4):
        texts, before = Counter(), Counter()
        for state, share in zip(grammar.states, grammar.stationary, strict=True):
            for words, p, _ in _texts(rules, state, n + 1):
                texts[words] += share * p
                before[words[:-1]] += share * p
        by_text.append(-sum(p * np.log(p / before[words[:-1]]) for words, p in texts.items()))
    np.testing.assert_allclose(grammar.entropies(3), by_text, atol=1e-12)


def test_each_word_more_that_is_seen_brings_the_loss_nearer_to_the_entropy_rate(grammar):
    losses = grammar.entropies(12)
    assert losses[0] == grammar.unigram_entropy
    assert losses[1] == grammar.bigram_entropy
    assert (np.diff(losses) < 0).all()
    assert grammar.entropy_rate < losses[12] < grammar.entropy_rate + 0.01


def test_known_machines_have_their_known_entropies():
    assert Grammar(MEAN, 1).entropy_rate == pytest.approx(2 / 3 * np.log(2))
    assert Grammar(MEAN, 1).bigram_entropy == pytest.approx(2 / 3 * np.log(2))  # it is a bigram
    loop = Grammar(LOOP, 1)
    assert (loop.entropy_rate, loop.perplexity) == pytest.approx((0, 1))
    coin = Grammar({0: {"h": (0.5, 0), "t": (0.5, 0)}}, 0)
    assert (coin.entropy_rate, coin.unigram_entropy) == pytest.approx((np.log(2),) * 2)


def test_the_loss_of_one_who_knows_the_grammar_is_its_entropy_rate(grammar, text):
    log_p = grammar.log_probabilities(text)
    error = log_p.std() / np.sqrt(len(text))
    assert -log_p.mean() == pytest.approx(grammar.entropy_rate, abs=4 * error)
    assert 4 * error < 0.01


def test_counted_bigrams_come_near_the_bigram_entropy(grammar, text):
    pairs = Counter(pairwise(text.tolist()))
    words = Counter(text[:-1].tolist())
    loss = -sum(n * np.log(n / words[a]) for (a, _), n in pairs.items()) / (len(text) - 1)
    assert loss == pytest.approx(grammar.bigram_entropy, abs=0.01)


def test_words_are_drawn_with_their_probabilities():
    grammar = Grammar(TINY, "A")
    ids = grammar.sample(100_000, rng=np.random.default_rng(0))
    wanted = grammar.stationary @ grammar.probabilities
    np.testing.assert_allclose(np.bincount(ids) / len(ids), wanted, atol=0.01)


def test_the_largest_random_number_draws_the_last_word():
    class Largest:
        def random(self, n):
            return np.full(n, 1 - 2.0**-53)

    grammar = Grammar({0: dict.fromkeys("abcdefghij", (0.1, 0))}, 0)
    assert grammar.decode(grammar.sample(3, rng=Largest())) == ["j"] * 3


def test_a_bigram_is_much_worse_than_the_best_model(grammar):
    best, bigram, unigram = np.exp(
        [grammar.entropy_rate, grammar.bigram_entropy, grammar.unigram_entropy]
    )
    assert (best, bigram, unigram) == pytest.approx((4.850, 7.089, 35.721), abs=1e-3)
    assert len(grammar.words) == 52


def test_a_verb_agrees_with_its_subject_far_away(grammar):
    near = ["near", "every", "big", "boy", "that", "the", "cats", "see", "behind", "a", "car"]
    for subject, its, others in [
        ("dogs", {"sleep", "see", "are"}, {"sleeps", "sees", "is", "break", "breaks"}),
        ("dog", {"sleeps", "sees", "is"}, {"sleep", "see", "are", "break", "breaks"}),
        ("doors", {"break", "open", "are"}, {"breaks", "is", "sleep", "see"}),
        ("door", {"breaks", "opens", "is"}, {"break", "are", "sleeps", "sees"}),
    ]:
        for between in ([], near, near * 5):
            likely = grammar.next_words(["the", subject, *between])
            assert its <= likely.keys()
            assert not others & likely.keys()


def test_a_pronoun_agrees_with_its_subject(grammar):
    sentence = "the dogs that a cat likes see the door today because"
    assert grammar.next_words(sentence.split()) == {"they": 1}
    sentence = sentence.replace("dogs", "dog").replace("see", "sees")
    assert grammar.next_words(sentence.split()) == {"it": 1}


def test_every_sentence_ends_and_another_begins(grammar, text):
    ends = np.flatnonzero(text == grammar.encode([EOS])[0])
    assert 8 < len(text) / len(ends) < 11
    one = grammar.decode(text[: ends[0] + 1])
    assert grammar.next_words(one) == grammar.next_words([])


def test_next_words_are_probabilities_the_largest_first(grammar, text):
    for length in range(60):
        p = list(grammar.next_words(grammar.decode(text[:length])).values())
        assert sum(p) == pytest.approx(1)
        assert p == sorted(p, reverse=True)


def test_the_probability_of_a_text_is_the_product_of_those_of_its_words():
    grammar = Grammar(TINY, "A")
    for words, p, _ in _texts(TINY, "A", 4):
        assert grammar.log_probabilities(grammar.encode(words)).sum() == pytest.approx(np.log(p))


def test_who_follows_a_text_knows_what_can_come_next(grammar, text):
    ids = text[:200]
    states = grammar.follow(ids)
    assert grammar.states[states[0]] == grammar.start
    for length in (0, 1, 7, 50, 200):
        likely = grammar.next_words(grammar.decode(ids[:length]))
        p = grammar.probabilities[states[length]]
        assert likely == {grammar.words[w]: p[w] for w in np.flatnonzero(p)}


def test_agreement_is_asked_where_the_verb_may_come(grammar):
    words = ["the", "dog", "near", "many", "doors", "sleeps", "because", "it", "is", "red", EOS]
    words += ["some", "girls", "that", "the", "cats", "see", "see", "a", "cat"]
    p = np.zeros((len(words) - 1, len(grammar.words)))

    def say(after, **probabilities):
        for word, probability in probabilities.items():
            p[after, grammar.encode([word])[0]] = probability

    say(1, sleeps=0.2, sleep=0.1, near=0.7)  # after "dog"
    say(4, **{"is": 0.1, "are": 0.3, "break": 0.2})  # after "doors"
    say(12, like=0.5)  # after "girls"
    say(16, see=0.1, sees=0.3)  # after "the cats see"
    between, share = agreement(grammar, grammar.encode(words), p)
    assert between.tolist() == [0, 3, 0, 4]
    np.testing.assert_allclose(share, [2 / 3, 1 / 6, 1, 1 / 4])


def test_who_knows_the_grammar_lets_verbs_agree_and_no_words_between_are_one_or_two(grammar, text):
    exact = grammar.probabilities[grammar.follow(text)[1:-1]]
    between, share = agreement(grammar, text, exact)
    np.testing.assert_allclose(share, 1)
    assert set(range(20)) - set(between.tolist()) == {1, 2}
    any_word = np.ones_like(exact)
    assert agreement(grammar, text, any_word)[1].max() < 0.4


def test_the_same_seed_makes_the_same_text(grammar):
    once, again, other = (grammar.sample(50, rng=np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(once, again)
    assert (once != other).any()
    assert once.dtype == np.int64


@pytest.mark.parametrize(
    ("rules", "start", "message"),
    [
        ({1: {"a": (0.5, 1)}}, 1, "state 1 are .* their sum 1"),
        ({1: {"a": (1.5, 1), "b": (-0.5, 1)}}, 1, "must be positive"),
        ({1: {"a": (float("nan"), 1)}}, 1, "must be positive and"),
        ({1: {}}, 1, "their sum 1"),
        ({1: {"a": (1, 2)}}, 1, "no rule for state 2, which follows 1"),
        (MEAN, 3, "no rule for the start 3"),
        ({**MEAN, 3: {"a": (1, 1)}}, 1, "no way from the start: 3"),
        ({1: {"a": (1, 2)}, 2: {"a": (1, 2)}}, 1, "no way back to the start: 2"),
    ],
)
def test_rules_that_make_no_endless_text_are_refused(rules, start, message):
    with pytest.raises(ValueError, match=message):
        Grammar(rules, start)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g: g.next_words(["the", "mouse"]), "word 1 is 'mouse', which the grammar does not"),
        (lambda g: g.next_words(["the", "dog", "sleep"]), "word 2 is 'sleep', which cannot be"),
        (lambda g: g.log_probabilities(g.encode(["dog"])), "word 0 is 'dog', which cannot"),
        (lambda g: g.log_probabilities([0.5]), "must be whole numbers"),
        (lambda g: g.decode([52]), "from 52 to 52, but there are 0 to 51"),
        (lambda g: g.decode([[1]]), "with one axis"),
        (lambda g: g.sample(0, rng=np.random.default_rng(0)), "n_words is 0"),
        (lambda g: g.entropies(-1), "n_words is -1, but must be a whole number, at least 0"),
        (lambda g: g.follow(g.encode(["dog"])), "word 0 is 'dog', which cannot"),
        (lambda g: agreement(g, [g.encode(["the"])[0]] * 2, 0), "word 1 is 'the'"),
        (lambda g: agreement(g, g.encode(["the", "dog"]), np.ones((2, 52))), r"must be \(1, 52\)"),
        (lambda g: agreement(Grammar(MEAN, 1), [0], 0), "the one that english"),
    ],
)
def test_what_the_grammar_cannot_say_is_refused(grammar, call, message):
    with pytest.raises(ValueError, match=message):
        call(grammar)
