"""Answers: greedy, sampled, by beam search; against enumeration of all possible answers."""

from itertools import product

import numpy as np
import pytest

from symrnn.compiling.modes import QUICK
from symrnn.models.seq2seq import translation
from symrnn.models.seq2seq.model import Seq2Seq
from symrnn.models.seq2seq.translation import Translator
from symrnn.nn.cells import ElmanCell
from symrnn.text import PairVocabularies, UnknownTokenError, Words, padded, pair_batches
from symrnn.training.optimizers import adam

PAIRS = [("xyz", "ab"), ("zzx", "ba")]
TEXTS = ["x", "zyx", "yy", "xyzzyx"]
LONGEST = 4


@pytest.fixture(scope="module", params=["plain", "attention"])
def translator(request):
    both = PairVocabularies.build(PAIRS)
    attention = "general" if request.param == "attention" else None
    model = Seq2Seq(
        3, 3, 4, 6, rng=np.random.default_rng(3), cell=ElmanCell, attention=attention,
        peeky=attention is None,
    )  # fmt: skip
    model.decoder.output.W.set_value(3 * model.decoder.output.W.get_value())
    made = Translator(model, both, mode=QUICK, longest=LONGEST)
    made.functions = model.compile_encoder(mode=QUICK), model.compile_step(mode=QUICK)
    return made


def log_p(translator, text, tokens):
    """Of given tokens, one step after the other."""
    model, both = translator.model, translator.vocabularies
    encoder, step = translator.functions
    arrays = encoder(*padded([both.encode_source(text)]))
    n = len(model.decoder_inputs)
    inputs, states, previous, total = arrays[:n], arrays[n:], model.start, 0.0
    for token in tokens:
        now, *rest = step(np.array([previous]), *inputs, *states)
        states = rest[model.has_attention :]
        total += float(now[0, token])
        previous = token
    return total


@pytest.fixture(scope="module")
def everything(translator):
    """All possible answers to each text, with their log probabilities."""
    eos = translator.vocabularies.target.eos
    others = [i for i in range(3) if i != eos]
    said = [
        [*start, *end]
        for n in range(LONGEST + 1)
        for start in product(others, repeat=n)
        for end in ([[]] if n == LONGEST else [[eos]])
    ]
    return {text: [(log_p(translator, text, s), s) for s in said] for text in TEXTS[:2]}


def test_all_possible_answers_have_the_probability_one(everything):
    for found in everything.values():
        assert np.exp([p for p, _ in found]).sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("power", [0.0, 0.7, 1.0])
def test_a_beam_that_keeps_everything_finds_the_best_in_order(translator, everything, power):
    for text, found in everything.items():
        eos = translator.vocabularies.target.eos  # what was cut off comes after all that ended
        ranked = sorted(
            found, key=lambda f: (f[1][-1] == eos, f[0] / len(f[1]) ** power), reverse=True
        )
        for n_best in (1, 5):
            answers = translator.beam_search(text, width=81, n_best=n_best, length_power=power)
            assert len(answers) == n_best
            for answer, (p, ids) in zip(answers, ranked, strict=False):
                assert answer.tokens == translator.vocabularies.target.decode(ids)
                assert answer.log_p == pytest.approx(p, rel=1e-12)
                assert answer.score == pytest.approx(p / len(ids) ** power, rel=1e-12)


@pytest.mark.parametrize("power", [0.0, 1.0])
def test_what_was_cut_off_does_not_come_before_what_has_ended(translator, monkeypatch, power):
    eos, n_steps = translator.vocabularies.target.eos, []

    def likely_to_end_at_once(tokens, inputs, states):
        n_steps.append(len(tokens))
        p = np.full((len(tokens), 3), 0.05 if len(n_steps) == 1 else 0.005)
        p[:, eos if len(n_steps) == 1 else (eos + 1) % 3] = 0.9 if len(n_steps) == 1 else 0.99
        weights = np.ones((len(tokens), 1)) if translator.model.has_attention else None
        return np.log(p), weights, states

    monkeypatch.setattr(translator, "_next", likely_to_end_at_once)
    monkeypatch.setattr(translator, "longest", 30)
    best, *_ = translator.beam_search("x", width=3, n_best=2, length_power=power)
    assert best.tokens == ["<eos>"]
    n_steps.clear()
    assert len(translator.beam_search("x", width=3, n_best=3, length_power=power)[0].tokens) == 1


@pytest.mark.parametrize("power", [0.0, 1.0])
def test_a_beam_of_one_is_greedy(translator, power):
    for text, greedy in zip(TEXTS, translator.translate(TEXTS), strict=True):
        (answer,) = translator.beam_search(text, width=1, length_power=power)
        assert (answer.text, answer.tokens) == (greedy.text, greedy.tokens)
        assert answer.log_p == pytest.approx(greedy.log_p, rel=1e-12)
        if greedy.weights is not None:
            np.testing.assert_allclose(answer.weights, greedy.weights, rtol=1e-12)


def test_texts_side_by_side_are_answered_as_alone(translator):
    for text, together in zip(TEXTS, translator.translate(TEXTS), strict=True):
        (alone,) = translator.translate([text])
        assert (alone.text, alone.tokens) == (together.text, together.tokens)
        assert alone.log_p == pytest.approx(together.log_p, rel=1e-12)
        assert log_p(
            translator, text, translator.vocabularies.target.encode(alone.tokens)
        ) == pytest.approx(alone.log_p, rel=1e-12)


def test_weights_are_of_each_output_token_and_each_source_token(translator):
    for text, answer in zip(TEXTS, translator.translate(TEXTS), strict=True):
        assert answer.source == list(text)
        if not translator.model.has_attention:
            assert answer.weights is None
        else:
            assert answer.weights.shape == (len(answer.tokens), len(text))
            np.testing.assert_allclose(answer.weights.sum(axis=1), 1, rtol=1e-12)


def test_draws_have_the_models_probabilities(translator, everything):
    text, n = TEXTS[1], 1500
    drawn = translator.translate([text] * n, rng=np.random.default_rng(1))
    counts = {}
    for answer in drawn:
        counts[tuple(answer.tokens)] = counts.get(tuple(answer.tokens), 0) + 1
    for p, ids in everything[text]:
        expected = n * np.exp(p)
        tokens = tuple(translator.vocabularies.target.decode(ids))
        assert abs(counts.get(tokens, 0) - expected) < 4.5 * np.sqrt(expected) + 1
    again, other = (translator.translate([text] * n, rng=np.random.default_rng(k)) for k in (1, 2))
    assert [a.text for a in again] == [a.text for a in drawn] != [a.text for a in other]
    sure = translator.translate(TEXTS, rng=np.random.default_rng(1), top_k=1)
    assert [a.text for a in sure] == [a.text for a in translator.translate(TEXTS)]


def test_accuracy_counts_whole_answers(translator):
    said = [(text, a.text) for text, a in zip(TEXTS, translator.translate(TEXTS), strict=True)]
    assert translator.accuracy(said) == 1
    assert translator.accuracy([*said[:2], (TEXTS[2], "abab"), (TEXTS[3], "bbbb")]) == 0.5


def test_unknown_tokens_are_never_generated():
    both = PairVocabularies.build([("x", "aa"), ("y", "aab"), ("x", "a")], min_count=2)
    model = Seq2Seq(
        len(both.source), len(both.target), 3, 4, rng=np.random.default_rng(1), cell=ElmanCell
    )
    b = np.zeros(len(both.target))
    b[both.target.unk] = 9
    model.decoder.output.b.set_value(b)
    translator = Translator(model, both, mode=QUICK, longest=3)
    drawn = translator.translate(["x", "unknown"] * 20, rng=np.random.default_rng(1))
    assert "<unk>" not in {t for a in drawn for t in a.tokens}
    assert "<unk>" not in {t for a in translator.beam_search("x", width=3) for t in a.tokens}


def test_what_cannot_be_answered_is_refused(translator):
    for call, message in (
        (lambda: translator.translate([""]), "the source '' is empty"),
        (lambda: translator.beam_search("", width=2), "the source '' is empty"),
        (lambda: translator.beam_search("x", width=0), "width is 0"),
        (
            lambda: translator.beam_search("x", width=2, n_best=3),
            "n_best is 3, but must be at most width",
        ),
        (lambda: translator.beam_search("x", width=2, length_power=np.inf), "length_power is inf"),
        (lambda: translator.accuracy([]), "there are no pairs"),
        (lambda: translator.beam_search("x", width=2, length_power=-1), "length_power is -1"),
        (lambda: translator.translate(["x"], temperature=2), "temperature is 2, .* give rng="),
        (
            lambda: translator.translate(["x"], rng=np.random.default_rng(1), temperature=0),
            "temperature is 0",
        ),
        (lambda: Translator(translator.model, translator.vocabularies, longest=0), "longest is 0"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(UnknownTokenError, match="token 1 is the character 'q'") as caught:
        translator.translate(["x", "xq"])
    assert "It is in 'xq'." in caught.value.__notes__
    with pytest.raises(TypeError, match=r"must be a list of them: \['xyz'\]"):
        translator.translate("xyz")
    other = PairVocabularies.build([("x", "a")])
    with pytest.raises(ValueError, match="1 and 2 tokens, but the model 3 and 3"):
        Translator(translator.model, other)
    translator.longest_source = 3
    with pytest.raises(ValueError, match=r"'xxxx' has 4 tokens, but at most 3 are allowed"):
        translator.translate(["xxx", "xxxx"])
    assert translator.accuracy([("xxxx", "abab")]) == 0  # what is right does not depend on it
    translator.longest_source = None


def test_lowercase_answers_are_right_where_the_tokenizer_lowers_all_letters():
    both = PairVocabularies.build([("cat", "Katze")], tokenizer=Words(lower=True))
    model = Seq2Seq(len(both.source), len(both.target), 2, 4, rng=np.random.default_rng(1))
    step = model.compile_training(lambda loss, params: adam(loss, params, 0.1), mode=QUICK)
    batches = pair_batches(*both.encode([("cat", "Katze")]), batch_size=1, eos=both.target.eos)
    for _ in range(20):
        step(*batches[0])
    translator = Translator(model, both, mode=QUICK)
    assert translator.accuracy([("Cat", "Katze")]) == 1
    assert translator.wrong_answers([("cat", "Hund")]) == [("cat", "katze", "hund")]


@pytest.mark.jax
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Skipping")
def test_mode_jax_says_the_same(translator):
    jax = Translator(translator.model, translator.vocabularies, mode="JAX", longest=LONGEST)
    for one, other in (
        (jax.translate(TEXTS), translator.translate(TEXTS)),
        (jax.beam_search("zyx", width=3), translator.beam_search("zyx", width=3)),
    ):
        assert [a.tokens for a in one] == [a.tokens for a in other]
        np.testing.assert_allclose([a.log_p for a in one], [a.log_p for a in other], rtol=1e-12)


def test_functions_compiled_for_each_shape_answer_the_same(translator, monkeypatch):
    monkeypatch.setattr(translation, "JAX", QUICK)  # mode JAX needs to know all shapes
    by_shape = Translator(translator.model, translator.vocabularies, mode=QUICK, longest=LONGEST)
    for one, other in (
        (by_shape.translate(TEXTS), translator.translate(TEXTS)),
        (by_shape.beam_search("zyx", width=3), translator.beam_search("zyx", width=3)),
    ):
        assert [a.tokens for a in one] == [a.tokens for a in other]
        np.testing.assert_allclose([a.log_p for a in one], [a.log_p for a in other], rtol=1e-12)
