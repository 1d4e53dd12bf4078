import re
from copy import copy
from itertools import product

import numpy as np
import pytest

from symrnn.compiling.modes import QUICK
from symrnn.models.language.generation import TextGenerator
from symrnn.models.language.model import LanguageModel
from symrnn.models.sampling import draw, largest, sampling_probabilities
from symrnn.nn.cells import ElmanCell, GRUCell
from symrnn.text import EOS, UNK, Characters, UnknownTokenError, Vocabulary, Words

LETTERS = Vocabulary("abcd\n")


def model(n_tokens, seed=1, **options):
    made = LanguageModel(
        n_tokens, 4, 6, rng=np.random.default_rng(0), **({"cell": ElmanCell} | options)
    )
    rng = np.random.default_rng(seed)
    for p in made.params:
        p.set_value(rng.normal(0, 0.9, p.get_value().shape))
    return made


@pytest.fixture(scope="module")
def generator():
    return TextGenerator(model(5, n_layers=2), LETTERS, Characters(), mode=QUICK)


@pytest.fixture(scope="module")
def word_generator():
    words = [UNK, EOS, "the", "dog", '"', "(", ")", ".", "sleeps"]
    m = model(len(words), cell=GRUCell)
    return TextGenerator(m, Vocabulary(words), Words(line_ends="eos"), mode=QUICK)


def log_p_after(m, text):
    """Log probabilities of the token after a text, of an Elman model, from its first token on."""
    E, *weights = (p.get_value() for p in m.params)
    layers, (W, b) = [weights[i : i + 3] for i in range(0, 3 * len(m.cells), 3)], weights[-2:]
    h = [np.zeros(len(W_h)) for _, W_h, _ in layers]
    for i in LETTERS.encode("\n" + text):
        below = E[i]
        for k, (W_x, W_h, bias) in enumerate(layers):
            below = h[k] = np.tanh(below @ W_x + h[k] @ W_h + bias)
    z = below @ W + b
    return z - np.log(np.exp(z).sum())


def all_texts(m, prompt, n, stop=None):
    """Every text of n tokens, or one that ends before with `stop`, and its log probability."""
    found = {}
    for tokens in product(LETTERS, repeat=n):
        text, score = "", 0.0
        for token in tokens:
            score += log_p_after(m, prompt + text)[LETTERS[token]]
            if token == stop:
                break
            text += token
        found[text] = score
    return sorted(found.items(), key=lambda pair: -pair[1])


def test_greedy_takes_the_most_probable_token_given_the_whole_text(generator):
    text = "ab"
    for _ in range(30):  # recomputed from the beginning at each step
        text += LETTERS.tokens[int(log_p_after(generator.model, text).argmax())]
    assert generator.generate("ab", 30) == text[2:]
    assert len(set(text)) > 2


def test_samples_have_the_probabilities_of_the_model(generator):
    n = 1000
    rng = np.random.default_rng(1)
    written = [generator.generate("a", 2, rng=rng) for _ in range(n)]
    expected = {text: np.exp(score) for text, score in all_texts(generator.model, "a", 2)}
    assert sum(expected.values()) == pytest.approx(1, abs=1e-12)
    counts = np.array([written.count(text) for text in expected])
    p = np.array([*expected.values()])
    assert counts.sum() == n
    chi_squared = ((counts - n * p) ** 2 / (n * p)).sum()  # mean 24, standard deviation 7
    assert chi_squared < 24 + 4 * 7


def by_a_loop(log_p, temperature, top_k, top_p):
    """`sampling_probabilities`, token by token."""
    weights = [np.exp(x / temperature) for x in log_p]
    order = sorted(range(len(log_p)), key=lambda i: (-log_p[i], i))[:top_k]
    total, kept, so_far = sum(weights[i] for i in order), [], 0.0
    for i in order:
        kept.append(i)
        so_far += weights[i] / total
        if top_p is not None and so_far >= top_p:
            break
    total = sum(weights[i] for i in kept)
    return [weights[i] / total if i in kept else 0.0 for i in range(len(log_p))]


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("top_k", [None, 1, 3, 20])
@pytest.mark.parametrize("top_p", [None, 0.05, 0.6, 0.95, 1.0])
def test_temperature_then_top_k_then_top_p_equal_a_plain_loop(temperature, top_k, top_p):
    for seed in range(5):
        z = np.random.default_rng(seed).normal(0, 2, 20)
        log_p = z - np.log(np.exp(z).sum())
        q = sampling_probabilities(log_p, temperature=temperature, top_k=top_k, top_p=top_p)
        np.testing.assert_allclose(q, by_a_loop(log_p, temperature, top_k, top_p), atol=1e-14)
        assert q.sum() == pytest.approx(1)


def test_extreme_temperatures_and_ties_are_no_accident():
    log_p = np.log([0.1, 0.4, 0.4, 0.1])
    assert sampling_probabilities(log_p, temperature=1e-300).tolist() == [0, 0.5, 0.5, 0]
    np.testing.assert_allclose(sampling_probabilities(log_p, temperature=1e300), 0.25)
    assert sampling_probabilities(log_p, top_k=1).tolist() == [0, 1, 0, 0]
    assert sampling_probabilities(log_p, top_p=0.3).tolist() == [0, 1, 0, 0]
    assert largest(np.array([1.0, 3.0, -np.inf, 3.0, 1.0]), 3).tolist() == [1, 3, 0]
    assert largest(np.array([1.0, -np.inf]), 2).tolist() == [0]


@pytest.mark.parametrize("u", [0.0, 0.25, 1 - 2**-53])
def test_what_has_no_probability_is_never_drawn(u):
    class Always:
        def random(self):
            return u

    p = np.array([0, 0.1, 0, 0.3, 0.6 - 1e-16, 0])
    assert p[draw(p, Always())] > 0


def test_the_same_seed_gives_the_same_text_and_another_seed_another(generator):
    options = {"temperature": 1.3, "top_k": 4, "top_p": 0.95}
    texts = [
        generator.generate("a", 60, rng=np.random.default_rng(s), **options) for s in (1, 1, 2)
    ]
    assert texts[0] == texts[1] != texts[2]


def test_top_k_of_one_is_greedy_and_top_k_bounds_what_is_written(generator):
    rng = np.random.default_rng(3)
    assert generator.generate("c", 20, rng=rng, top_k=1) == generator.generate("c", 20)
    text = generator.generate("c", 200, rng=rng, temperature=5.0, top_k=2)
    for k in range(0, 200, 7):
        best = largest(log_p_after(generator.model, "c" + text[:k]), 2)
        assert LETTERS[text[k]] in best


@pytest.mark.parametrize("prompt", ["", "the dog", 'the " dog', "(", "the dog sleeps .\n"])
def test_streamed_pieces_are_the_text_word_by_word(word_generator, prompt):
    w = word_generator
    pieces = [*w.stream(prompt, 60, rng=np.random.default_rng(5), temperature=2.0)]
    assert len(pieces) == 60
    text = "".join(pieces)
    assert text == w.generate(prompt, 60, rng=np.random.default_rng(5), temperature=2.0)
    assert {'"', "(", "\n", " "} <= set(text)
    tokens = w.tokenizer.tokenize(prompt, unfinished=True)
    before = w.tokenizer.detokenize(tokens)
    again = w.tokenizer.tokenize(before + text, unfinished=True)
    assert len(again) == len(tokens) + 60
    assert w.tokenizer.detokenize(again) == before + text


def test_a_stream_writes_no_further_than_it_is_read(generator):
    counting, calls = copy(generator), []
    counting.next_token = lambda *args: calls.append(1) or generator.next_token(*args)
    pieces = counting.stream("ab", 1000)
    assert len(calls) == 3  # line end, a, b
    next(pieces), next(pieces)
    assert len(calls) == 4
    assert "".join([*counting.stream("ab", 5)]) == generator.generate("ab", 5)
    assert len(calls) == 4 + 3 + 4  # none after the last token


@pytest.mark.parametrize("stop", [None, "\n"])
def test_a_wide_beam_finds_the_best_of_all_texts(generator, stop):
    best = all_texts(generator.model, "a", 4, stop)
    found = generator.beam_search("a", 4, width=5**3 * 4, stop=stop)
    assert [text for text, _ in found[:50]] == [text for text, _ in best[:50]]
    np.testing.assert_allclose([p for _, p in found[:50]], [p for _, p in best[:50]], rtol=1e-10)


def test_wider_beams_find_texts_at_least_as_probable_here(generator):
    best = all_texts(generator.model, "b", 5)[0][1]
    scores = [generator.beam_search("b", 5, width=width)[0][1] for width in (1, 3, 30, 625)]
    assert scores == sorted(scores)
    assert scores[-1] == pytest.approx(best)


def test_beams_are_distinct_and_carry_their_own_state(generator):
    found = generator.beam_search("a", 6, width=7)
    assert len({text for text, _ in found}) == 7
    for text, score in found:
        parts = [
            log_p_after(generator.model, "a" + text[:k])[LETTERS[c]] for k, c in enumerate(text)
        ]
        assert score == pytest.approx(sum(parts))


def test_a_beam_of_one_is_greedy(generator):
    for prompt in ("", "a", "dcb"):
        ((text, _),) = generator.beam_search(prompt, 12, width=1)
        assert text == generator.generate(prompt, 12)


def test_all_beams_advance_in_one_call(generator):
    counting, sizes = copy(generator), []
    counting.next_token = lambda ids, *state: (
        sizes.append(len(ids)) or generator.next_token(ids, *state)
    )
    counting.beam_search("a", 5, width=6)
    assert sizes == [1, 1, 5, 6, 6, 6]


def test_next_words_have_the_probabilities_of_the_model(generator):
    p = np.exp(log_p_after(generator.model, "abc"))
    offered = generator.next_words("abc", 3)
    order = np.argsort(-p)[:3]
    assert [token for token, _ in offered] == [LETTERS.tokens[i] for i in order]
    np.testing.assert_allclose([q for _, q in offered], p[order], rtol=1e-12)
    assert sum(q for _, q in generator.next_words("abc", 5)) == pytest.approx(1)


def test_unknown_is_never_written_unless_asked(word_generator):
    m, vocabulary = model(9), word_generator.vocabulary
    m.params[-1].set_value(np.where(np.arange(9) == 0, 5.0, 0.0))  # <unk> is most probable
    w = TextGenerator(m, vocabulary, Words(), mode=QUICK)
    asked = TextGenerator(m, vocabulary, Words(), mode=QUICK, unk=True)
    rng = np.random.default_rng(1)
    assert UNK not in w.generate("the", 200, rng=rng)
    assert UNK not in w.generate("the", 50)
    assert all(UNK not in text for text, _ in w.beam_search("the", 4, width=20))
    assert UNK in asked.generate("the", 20, rng=rng)
    assert asked.next_words("the cat", 1)[0][0] == UNK  # "cat" is not known either
    offered = dict(w.next_words("the cat", 8))
    assert UNK not in offered
    assert sum(offered.values()) == pytest.approx(1 - asked.next_words("the cat", 1)[0][1])
    assert offered == pytest.approx({k: v for k, v in asked.next_words("the cat", 9) if k != UNK})


def test_a_text_begins_after_the_end_of_a_sentence(word_generator, generator):
    assert word_generator.start == word_generator.vocabulary.eos
    assert generator.start == LETTERS["\n"]
    m = model(2)
    bare = TextGenerator(m, Vocabulary("ab"), Characters(), mode=QUICK)
    assert bare.start is None
    step, zeros = m.compile_next(mode=QUICK), m.zeros(1)
    log_p, _ = step(np.array([1]), *zeros)
    assert dict(bare.next_words("b", 2))["a"] == pytest.approx(np.exp(log_p[0, 0]))
    with pytest.raises(ValueError, match=r"the prompt '' has no token.* give a prompt"):
        bare.generate("", 5)


def test_stop_ends_a_text_and_is_no_part_of_it(generator):
    rng = np.random.default_rng(2)
    texts = [generator.generate("a", 40, rng=rng, stop="\n") for _ in range(30)]
    assert not any("\n" in text for text in texts)
    assert len({len(text) for text in texts}) > 3
    whole = generator.generate("a", 40, rng=np.random.default_rng(2))
    assert whole.startswith(texts[0] + "\n")
    for text, _ in generator.beam_search("a", 10, width=20, stop="\n"):
        assert "\n" not in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0}, "temperature is 0, but must be a finite number above 0.*rng=None"),
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"temperature": float("inf")}, "temperature is inf"),
        ({"temperature": "hot"}, "temperature is hot"),
        ({"top_p": 0.0}, r"top_p is 0.0, but must be above 0 and at most 1"),
        ({"top_p": 1.5}, "top_p is 1.5"),
        ({"top_p": float("nan")}, "top_p is nan"),
        ({"top_k": 0}, "top_k is 0, but must be a whole number, from 1 to 5"),
        ({"top_k": 6}, "top_k is 6"),
        ({"top_k": 2.0}, "top_k is 2.0"),
        ({"length": 0}, "length is 0, but must be a whole number, at least 1"),
        ({"length": 1.5}, "length is 1.5"),
        ({"rng": None, "temperature": 0.5}, "without rng the most probable token"),
        ({"stop": "z"}, "stop is 'z', but must be a token of the vocabulary"),
    ],
)
def test_settings_that_cannot_be_are_refused_at_once(generator, options, message):
    settings = {"length": 5, "rng": np.random.default_rng(1)} | options
    with pytest.raises(ValueError, match=message):
        generator.stream("a", **settings)  # before the first piece is asked for
    with pytest.raises(ValueError, match=message):
        generator.generate("a", **settings)


def test_other_requests_that_cannot_be_are_refused(generator):
    for call, message in (
        (lambda: generator.beam_search("a", 3, width=0), "width is 0"),
        (lambda: generator.beam_search("a", 0, width=2), "length is 0"),
        (lambda: generator.next_words("a", 0), "k is 0, but must be a whole number, from 1 to 5"),
        (lambda: generator.next_words("a", 6), "k is 6"),
        (
            lambda: TextGenerator(model(4), LETTERS, Characters(), mode=QUICK),
            "5 tokens, but the model 4",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(TypeError, match=re.escape("rng is 1, but must be a generator")):
        generator.generate("a", 3, rng=1)
    with pytest.raises(TypeError, match="must be a string"):
        generator.generate(["a"], 3)


def test_an_unknown_token_of_a_prompt_is_named(generator):
    with pytest.raises(UnknownTokenError, match=r"'x' \(U\+0078 LATIN SMALL LETTER X\)") as caught:
        generator.next_words("abx", 1)
    assert (caught.value.token, caught.value.position) == ("x", 2)


def test_a_model_whose_training_went_wrong_does_not_write():
    m = model(5)
    w = TextGenerator(m, LETTERS, Characters(), mode=QUICK)
    m.params[-1].set_value(np.full(5, np.nan))
    with pytest.raises(ValueError, match="probabilities are NaN"):
        w.generate("a", 3)
