"""Dialogue models: against plain NumPy, dialogues side by side and alone, masks, responses."""

from copy import copy

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.gradient import verify_grad
from pytensor.graph.replace import clone_replace
from scipy.special import log_softmax

from symrnn.compiling.function import function
from symrnn.compiling.modes import QUICK
from symrnn.models.dialogue.model import DialogueModel
from symrnn.models.dialogue.responder import Responder
from symrnn.nn.cells import ElmanCell, LSTMCell
from symrnn.text import (
    Characters,
    DialogueVocabulary,
    UnknownTokenError,
    dialogue_batches,
    padded_dialogues,
)

KINDS = {
    "seq2seq": {"context": False},
    "hred": {},
    "vhred": {"n_latent": 2},
    "variational seq2seq": {"context": False, "n_latent": 2},
    "last only": {"n_latent": 2, "last_only": True},
}
EOS, N, LATENT = 0, 5, 2
DIALOGUES = [
    [[1, 2], [3], [2, 2, 1]],
    [[3, 1], [2, 3]],
    [[2], [1, 1, 3], [3], [2, 1]],
]
TOKENS, MASK = padded_dialogues(DIALOGUES, eos=EOS)
EPSILON = np.random.default_rng(7).normal(size=(3, 3, LATENT))  # (turns - 1, batch, n_latent)


def make(kind, cell=ElmanCell, **options):
    model = DialogueModel(
        4, 3, N, rng=np.random.default_rng(1), cell=cell, **KINDS[kind], **options
    )
    for p in model.params:  # biases, too, shall not be 0
        w = p.get_value()
        p.set_value(w + np.random.default_rng(8).normal(0, 0.3, w.shape).astype(w.dtype))
    return model


SLOW = "variational seq2seq"  # what it has beside the others is tested in parts


@pytest.fixture(
    scope="module",
    params=[pytest.param(k, marks=[pytest.mark.slow] * (k == SLOW)) for k in KINDS],
)
def kind(request):
    """A model, and its terms and their gradients as a function."""
    model = make(request.param)
    tokens, mask = model.inputs()
    epsilon = pt.tensor3("epsilon")
    terms = model.terms(tokens, mask, epsilon=epsilon)
    loss = terms.kl - terms.log_likelihood
    gradients = pytensor.grad(loss, model.params, disconnected_inputs="ignore")
    call = pytensor.function(
        [tokens, mask, epsilon], [*terms, *gradients], mode=QUICK, on_unused_input="ignore"
    )
    return model, call


def elman(w, name, x, h):
    return np.tanh(x @ w[f"{name}.W_x"] + h @ w[f"{name}.W_h"] + w[f"{name}.b"])


def gaussian(w, name, x):
    h = np.tanh(x @ w[f"{name}.hidden.W"] + w[f"{name}.hidden.b"])
    return [h @ w[f"{name}.{part}.W"] + w[f"{name}.{part}.b"] for part in ("mean", "log_variance")]


def in_numpy(model, dialogue, epsilon):
    """Sums of log likelihood and KL over the responses of one dialogue, word by word."""
    w = {p.name: p.get_value() for p in model.params}
    E, sums = w["embedding.W"], np.zeros(2)
    utterances = [[*u, EOS] for u in dialogue]
    vectors = []
    for words in utterances:
        h = np.zeros(N)
        for word in words:
            h = elman(w, "encoder", E[word], h)
        vectors.append(h)
    c = np.zeros(N)
    trained = [len(utterances) - 2] if model.last_only else range(len(utterances) - 1)
    for n, response in enumerate(utterances[1:]):
        c = vectors[n] if model.context is None else elman(w, "context", vectors[n], c)
        if n not in trained:
            continue
        d = c
        if model.n_latent:
            (n0, v0), (m, v) = (
                gaussian(w, "prior", c),
                gaussian(w, "posterior", np.concatenate([c, vectors[n + 1]])),
            )
            d = np.concatenate([c, m + np.exp(v / 2) * epsilon[n - trained[0]]])
            sums[1] += ((v0 - v + np.exp(v - v0) + (m - n0) ** 2 / np.exp(v0) - 1) / 2).sum()
        h = np.tanh(d @ w["decoder.first.W"] + w["decoder.first.b"])
        for before, word in zip([4, *response[:-1]], response, strict=True):  # 4 is the start token
            h = elman(w, "decoder.cell", np.concatenate([E[before], d]), h)
            sums[0] += log_softmax(h @ w["decoder.output.W"] + w["decoder.output.b"])[word]
    return sums


def n_trained(model, dialogue):
    return 1 if model.last_only else len(dialogue) - 1


def draws(model, epsilon):
    return epsilon[:1] if model.last_only else epsilon


def test_terms_equal_numpy(kind):
    model, call = kind
    each = [in_numpy(model, d, EPSILON[:, b]) for b, d in enumerate(DIALOGUES)]
    n_responses = sum(n_trained(model, d) for d in DIALOGUES)
    got = call(TOKENS, MASK, draws(model, EPSILON))[:2]
    np.testing.assert_allclose(got, np.sum(each, axis=0) / n_responses, rtol=1e-12)
    assert (got[1] > 0) == bool(model.n_latent)


def test_dialogues_side_by_side_give_the_mean_of_each_alone(kind):
    model, call = kind
    together, total = call(TOKENS, MASK, draws(model, EPSILON)), 0
    sums = [np.zeros_like(value) for value in together]
    for b, dialogue in enumerate(DIALOGUES):
        n = n_trained(model, dialogue)
        total += n
        alone = call(*padded_dialogues([dialogue], eos=EOS), EPSILON[:n, b : b + 1])
        for value, one in zip(sums, alone, strict=True):
            value += n * one
    for name, got, summed in zip(
        ["log p", "kl", *(p.name for p in model.params)], together, sums, strict=True
    ):
        np.testing.assert_allclose(got, summed / total, rtol=0, atol=1e-10, err_msg=name)


def test_what_padding_holds_changes_no_number(kind):
    model, call = kind
    epsilon = draws(model, EPSILON)
    others = np.where(MASK, TOKENS, (TOKENS + 3) % 4)
    assert (others != TOKENS).any()
    longer = [np.pad(a, [(0, 2), (0, 1), (0, 0)]) for a in (TOKENS, MASK)]
    more = draws(model, np.concatenate([EPSILON, EPSILON[:1]]))
    for a, b, c in zip(
        call(TOKENS, MASK, epsilon), call(others, MASK, epsilon), call(*longer, more), strict=True
    ):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_allclose(a, c, rtol=0, atol=1e-10)


def test_every_weight_has_a_gradient_and_a_name_of_its_own(kind):
    model, call = kind
    gradients = call(TOKENS, MASK, draws(model, EPSILON))[2:]
    for p, g in zip(model.params, gradients, strict=True):
        assert g.any(), p.name
    assert len({p.name for p in model.params}) == len(model.params)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vhred", "last only"])
def test_gradients_are_those_of_finite_differences(name):
    model = make(name)
    checked = [model.embedding.W, model.decoder.first.W, model.encoder.W_h]

    def loss(*values):
        log_likelihood, kl = model.terms(TOKENS, MASK, epsilon=draws(model, EPSILON))
        return clone_replace(kl - log_likelihood, dict(zip(checked, values, strict=True)))

    values = [p.get_value() for p in checked]
    verify_grad(loss, values, rng=np.random.default_rng(1), mode=QUICK)


def test_without_a_context_only_the_last_utterance_counts(responders):
    dialogues = [[[1, 2], [3]], [[2, 2], [3]]]
    for name, counts in (("seq2seq", False), ("hred", True)):
        read = responders[name].context if name in responders else make(name).compile_context()
        a, b = read(*padded_dialogues(dialogues, eos=EOS))[0]
        assert (abs(a - b).max() > 1e-3) == counts


def test_the_context_after_the_last_turn_of_each_dialogue_is_that_of_it_alone(responders):
    read = responders["vhred"].context
    together = read(TOKENS, MASK)
    for b, dialogue in enumerate(DIALOGUES):
        alone = read(*padded_dialogues([dialogue], eos=EOS))
        for one, all_ in zip(alone, together, strict=True):
            np.testing.assert_allclose(one[0], all_[b], atol=1e-14)


def test_word_dropout_is_on_in_training_alone():
    model = make("hred", word_dropout=0.9)
    step, elbo = model.compile_training(lambda *_: {}), model.compile_elbo()
    assert step(TOKENS, MASK)[1] != step(TOKENS, MASK)[1]
    assert elbo(TOKENS, MASK)[1] == elbo(TOKENS, MASK)[1]


def test_z_is_drawn_anew_at_each_call():
    model = make("vhred")
    log_likelihood = function([], model.terms(TOKENS, MASK).log_likelihood)
    assert log_likelihood() != log_likelihood()


def test_all_is_in_the_dtype_of_the_weights():
    with pytensor.config.change_flags(floatX="float32"):
        assert {v.dtype for v in make("vhred", LSTMCell).terms(TOKENS, MASK)} == {"float32"}


# responses

VOCABULARY = DialogueVocabulary.build([["abc", "ab"]], tokenizer=Characters())


@pytest.fixture(scope="module")
def responders():
    return {name: Responder(make(name), VOCABULARY, longest=6) for name in ("hred", "vhred")}


def test_responses_side_by_side_are_those_of_each_alone(responders):
    contexts = [["a", "bcab"], ["cc"], ["b", "a", "c", "ab"]]
    for responder in responders.values():
        together = responder.respond(contexts)
        assert together == [responder.respond([c])[0] for c in contexts]
        assert together == responder.respond(contexts)


def test_a_drawn_latent_makes_responses_vary_and_a_seed_repeats_them(responders):
    contexts = [["a", "bcab"]] * 60
    responder = responders["vhred"]
    a, b, c = (responder.respond(contexts, latent_rng=np.random.default_rng(k)) for k in (1, 1, 2))
    assert a == b != c
    assert len(set(a)) > 1
    drawn = responder.respond(contexts, word_rng=np.random.default_rng(1))
    assert len(set(drawn)) > 1
    assert len(set(responder.respond(contexts))) == 1


def test_only_so_many_of_the_last_turns_are_read(responders):
    whole = responders["hred"]
    short = copy(whole)
    short.most_turns = 2
    long = [["a", "bb", "ca", "b"], ["cc", "ca", "a"]]
    assert short.respond(long) == whole.respond([d[-2:] for d in long])
    assert short.respond(long) != whole.respond(long)


def test_drawing_from_the_most_probable_word_alone_is_greedy(responders):
    contexts, rng = [["a", "bcab"]] * 20, np.random.default_rng(1)
    responder = responders["hred"]
    for setting in ({"top_k": 1}, {"top_p": 1e-9}):
        assert responder.respond(contexts, word_rng=rng, **setting) == responder.respond(contexts)


def test_what_is_said_to_a_model_may_be_longer_than_its_responses(responders):
    hred = copy(responders["hred"])
    hred.longest_read = 7
    assert len(hred.respond([["abcabca"]])[0]) <= 6
    with pytest.raises(ValueError, match="has 8 tokens, 'abcabcab', but at most 7 are allowed"):
        hred.respond([["abcabcab"]])


def test_bad_requests_are_refused(responders):
    hred, vhred = responders["hred"], responders["vhred"]
    for dialogues, error, message in (
        ([[]], ValueError, "dialogue 0 is empty"),
        ([["a"], ["a", ""]], ValueError, "utterance 1 of dialogue 1, '', has no token"),
        ([["abcabca"]], ValueError, "has 7 tokens, 'abcabca', but at most 6 are allowed"),
        ([["ax"]], UnknownTokenError, r"token 1 is the character 'x'"),
        (["a"], TypeError, "must be a list of lists of utterances"),
        ("a", TypeError, "must be a list of lists of utterances"),
    ):
        with pytest.raises(error, match=message):
            hred.respond(dialogues)
    with pytest.raises(ValueError, match="latent_rng draws z, but the model has none"):
        hred.respond([["a"]], latent_rng=np.random.default_rng(1))
    with pytest.raises(TypeError, match="latent_rng is 3"):
        vhred.respond([["a"]], latent_rng=3)
    with pytest.raises(TypeError, match="rng is 3"):
        hred.respond([["a"]], word_rng=3)
    with pytest.raises(ValueError, match="temperature is 0"):
        hred.respond([["a"]], word_rng=np.random.default_rng(1), temperature=0)
    with pytest.raises(ValueError, match="top_k is 5, but must be a whole number, from 1 to 4"):
        hred.respond([["a"]], word_rng=np.random.default_rng(1), top_k=5)
    for setting in ({"temperature": 0.5}, {"top_k": 2}, {"top_p": 0.9}):
        with pytest.raises(ValueError, match="but without word_rng the most probable token is"):
            hred.respond([["a"]], **setting)
    assert hred.respond([]) == []


@pytest.mark.parametrize("kind", ["vhred"], indirect=True)
def test_what_does_not_fit_a_model_is_refused(kind):
    rng = np.random.default_rng(1)
    with pytest.raises(ValueError, match="n_latent is -1"):
        DialogueModel(4, 3, N, rng=rng, n_latent=-1)
    with pytest.raises(ValueError, match="must be a whole number, at least 1"):
        DialogueModel(4, 3, 0, rng=rng)
    with pytest.raises(ValueError, match="word_dropout is 2"):
        DialogueModel(4, 3, N, rng=rng, word_dropout=2)
    model, call = kind
    with pytest.raises(ValueError, match="tokens have 2 axes and the mask 2, but both must have"):
        model.terms(TOKENS[:, :, 0], MASK[:, :, 0])
    with pytest.raises(ValueError, match="the vocabulary has 3 tokens, but the model 4"):
        Responder(model, DialogueVocabulary.build([["ab", "a"]], tokenizer=Characters()))
    with pytest.raises(ValueError, match="most_turns is 0"):
        Responder(model, VOCABULARY, most_turns=0)
    with pytest.raises(ValueError, match="longest_read is 0"):
        Responder(model, VOCABULARY, longest_read=0)
    for tokens, mask, message in (
        (TOKENS + 9, MASK, "a token id is below 0, or not below n_tokens"),
        (TOKENS, MASK[:, 1:], "the mask's shape is not that of tokens"),
        (TOKENS[:, :1], MASK[:, :1], "there must be at least two turns"),
        (TOKENS[::-1], MASK[::-1], "padding must come last"),  # before the words
        (TOKENS[:, ::-1], MASK[:, ::-1], "padding must come last"),  # before the turns
        (TOKENS, MASK & (np.arange(4) == 0)[:, None], "no dialogue has a response"),
    ):
        with pytest.raises(ValueError, match=message):
            call(tokens, mask, EPSILON)


@pytest.mark.parametrize("kind", ["last only"], indirect=True)
def test_a_dialogue_without_a_response_is_refused_where_only_the_last_is_trained_on(kind):
    words, mask = padded_dialogues([*DIALOGUES, [[1, 2]]], eos=EOS)
    with pytest.raises(ValueError, match="there must be at least two turns"):
        kind[1](words, mask, np.zeros((1, 4, LATENT)))


@pytest.mark.parametrize("kind", ["seq2seq"], indirect=True)
def test_a_batch_of_segments_is_trained_on_as_whole_dialogues_are_but_for_the_context(kind):
    """Without a context nothing is lost by cutting: the same responses to the same utterances."""
    whole, cut = (
        dialogue_batches(DIALOGUES, batch_size=9, eos=EOS, most_turns=n)[0] for n in (None, 2)
    )
    assert whole.words.shape[1:] == (4, 3)
    assert cut.words.shape[1:] == (2, 6)
    a, b = (kind[1](*batch, EPSILON)[0] for batch in (cut, whole))
    assert a == pytest.approx(b, rel=1e-12)
