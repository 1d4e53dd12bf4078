"""Variational autoencoders: the bound against plain NumPy, its gradients, and masks."""

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.gradient import verify_grad
from pytensor.graph.replace import clone_replace
from pytensor.tensor.random.type import RandomGeneratorType
from scipy.integrate import quad
from scipy.special import log_softmax
from scipy.stats import norm

from symrnn.compiling.function import function
from symrnn.compiling.modes import QUICK
from symrnn.models.decoder import SequenceGenerator
from symrnn.models.vae.sequences import SequenceVAE
from symrnn.models.vae.vectors import VAE
from symrnn.nn.cells import ElmanCell, LSTMCell
from symrnn.nn.random import draw_normal
from symrnn.training.losses import gaussian_kl
from symrnn.training.optimizers import gradient_descent
from symrnn.training.schedules import advance, step_counter, warm_up

RNG = np.random.default_rng(1)


# gaussian_kl


def kl(*arrays, mask=None):
    return float(gaussian_kl(*arrays, mask=mask).eval(mode=QUICK))


def test_kl_is_the_integral():
    m, log_s, n, log_v = 0.3, np.log(0.5), -0.4, np.log(1.7)
    q, p = norm(m, np.sqrt(0.5)), norm(n, np.sqrt(1.7))
    integral, _ = quad(lambda z: q.pdf(z) * (q.logpdf(z) - p.logpdf(z)), -12, 12, epsabs=1e-13)
    assert kl(*np.array([m, log_s, n, log_v]).reshape(4, 1, 1)) == pytest.approx(
        integral, rel=1e-10
    )


def test_kl_is_the_mean_of_log_q_less_log_p_over_draws():
    m, log_s = RNG.normal(size=(2, 1, 3))
    z = m + np.exp(log_s / 2) * RNG.normal(size=(200_000, 3))
    differences = (norm.logpdf(z, m, np.exp(log_s / 2)) - norm.logpdf(z)).sum(axis=1)
    error = differences.std() / np.sqrt(len(z))
    assert abs(kl(m, log_s) - differences.mean()) < 4 * error


def test_kl_of_equal_gaussians_is_zero_and_the_default_is_a_standard_normal():
    m, log_s = RNG.normal(size=(2, 4, 3))
    assert kl(m, log_s, m, log_s) == pytest.approx(0, abs=1e-15)
    assert kl(m, log_s) == pytest.approx(kl(m, log_s, 0 * m, 0 * m))


def test_kl_of_what_is_masked_does_not_count_even_if_it_is_nan():
    q = RNG.normal(size=(2, 3, 2, 4))
    mask = np.array([[1, 1], [1, 0], [0, 0]])
    expected = np.mean([kl(*q[:, t, b, None]) for t, b in np.argwhere(mask)])
    q[:, mask == 0] = np.nan
    assert kl(*q, mask=mask) == pytest.approx(expected, rel=1e-14)
    m = pt.tensor3("m", dtype="float64")
    gradient = pytensor.grad(gaussian_kl(m, q[1], mask=mask), m).eval({m: q[0]}, mode=QUICK)
    assert np.isfinite(gradient).all()


def test_gradients_of_kl_are_those_of_finite_differences():
    arrays = list(RNG.normal(size=(4, 2, 3)))
    verify_grad(gaussian_kl, arrays, rng=np.random.default_rng(1), mode=QUICK)


def test_gaussians_of_unequal_shapes_are_refused():
    with pytest.raises(ValueError, match=r"means and log variances have 2 and \[1, 2, 2\] axes"):
        gaussian_kl(np.zeros((2, 3)), np.zeros(3))
    with pytest.raises(ValueError, match="differ in shape"):
        kl(np.zeros((2, 3)), np.zeros((2, 1)))
    with pytest.raises(ValueError, match="the mask"):
        kl(np.zeros((2, 3)), np.zeros((2, 3)), mask=np.ones((2, 3, 1)))


# vectors


def weights(model):
    return {p.name: p.get_value() for p in model.params}


def bound_in_numpy(model, x, epsilon):
    w = weights(model)
    h = np.tanh(x @ w["encoder.hidden.W"] + w["encoder.hidden.b"])
    mean = h @ w["encoder.mean.W"] + w["encoder.mean.b"]
    log_variance = h @ w["encoder.log_variance.W"] + w["encoder.log_variance.b"]
    z = mean + np.exp(log_variance / 2) * epsilon
    h = np.tanh(z @ w["decoder.hidden.W"] + w["decoder.hidden.b"])
    y = h @ w["decoder.output.W"] + w["decoder.output.b"]
    if model.outputs == "bernoulli":
        p = 1 / (1 + np.exp(-y))
        log_likelihood = (x * np.log(p) + (1 - x) * np.log(1 - p)).sum(axis=1)
    else:
        log_likelihood = norm.logpdf(x, y, np.exp(w["log_sigma_2"] / 2)).sum(axis=1)
    kl = ((mean**2 + np.exp(log_variance) - 1 - log_variance) / 2).sum(axis=1)
    return (log_likelihood - kl).mean()


def random_biases(model):
    for p in model.params:
        p.set_value(p.get_value() + np.random.default_rng(8).normal(0, 0.3, p.get_value().shape))
    return model


@pytest.mark.parametrize("outputs", ["bernoulli", "gaussian"])
def test_elbo_equals_numpy_for_vectors(outputs):
    model = random_biases(VAE(5, 7, 2, rng=np.random.default_rng(1), outputs=outputs))
    x, epsilon = RNG.random((4, 5)), RNG.normal(size=(4, 2))
    if outputs == "bernoulli":
        x = x.round()
    elbo = model.elbo(x, epsilon=epsilon).eval(mode=QUICK)
    assert elbo == pytest.approx(bound_in_numpy(model, x, epsilon), rel=1e-12)


@pytest.mark.parametrize("outputs", ["bernoulli", "gaussian"])
def test_gradients_of_the_bound_are_those_of_finite_differences(outputs):
    model = random_biases(VAE(3, 4, 2, rng=np.random.default_rng(1), outputs=outputs))
    x, epsilon = RNG.random((3, 3)), RNG.normal(size=(3, 2))

    def bound(*values):
        elbo = model.elbo(x, epsilon=epsilon)
        return clone_replace(elbo, dict(zip(model.params, values, strict=True)))

    values = [p.get_value() for p in model.params]
    verify_grad(bound, values, rng=np.random.default_rng(1), mode=QUICK)


def test_the_bound_is_below_the_log_probability_which_an_integral_gives():
    """With one latent number log p(x) is an integral; the mean of the bound is below it."""
    model = random_biases(VAE(3, 4, 1, rng=np.random.default_rng(1)))
    x = np.array([[1.0, 0.0, 1.0]])
    decode, elbo = model.compile_decoder(), model.compile_elbo()

    def density(z):
        p = decode(np.array([[z]]))[0]
        return norm.pdf(z) * np.prod(np.where(x[0], p, 1 - p))

    log_p = np.log(quad(density, -9, 9)[0])
    draws = np.array([elbo(x)[0] for _ in range(300)])
    assert draws.std() > 0  # drawn anew at each call
    assert draws.mean() + 3 * draws.std() / np.sqrt(len(draws)) < log_p < draws.mean() + 2


def test_training_returns_loss_and_terms_and_draws_anew():
    model = VAE(3, 4, 2, rng=np.random.default_rng(1))
    w = pytensor.shared(np.array(0.5), name="w")
    step = model.compile_training(lambda loss, params: {}, kl_weight=w)
    x = np.eye(3)
    loss, log_likelihood, kl = step(x)
    assert loss == pytest.approx(0.5 * kl - log_likelihood)
    assert step(x)[1] != log_likelihood
    assert step(x)[2] == kl  # which does not depend on the draw


def test_a_schedule_anneals_the_weight_of_kl():
    model, t = VAE(3, 4, 2, rng=np.random.default_rng(1)), step_counter()
    step = model.compile_training(
        lambda loss, params: gradient_descent(loss, params, 1e-9) | advance(t),
        kl_weight=warm_up(t, 1.0, n_steps=4),
    )  # fmt: skip
    found = [step(np.eye(3)) for _ in range(6)]
    w = [(loss + log_likelihood) / kl for loss, log_likelihood, kl in found]
    np.testing.assert_allclose(w, [0.25, 0.5, 0.75, 1, 1, 1], rtol=1e-6)


def generators(compiled):
    return {v for v in compiled.get_shared() if isinstance(v.type, RandomGeneratorType)}


def test_a_functions_draws_are_its_own():
    model = VAE(3, 4, 2, rng=np.random.default_rng(1))
    elbo, step = model.compile_elbo(), model.compile_training(lambda *_: {})
    assert len(generators(elbo)) == len(generators(step)) == 1
    assert not generators(elbo) & generators(step)


# sequences

TOKENS = np.array([[0, 2, 1], [1, 1, 3], [3, 0, 0], [0, 3, 0]])  # 3 ends a sequence
MASK = np.arange(4)[:, None] < [3, 4, 2]


def sequence_model(cell=ElmanCell, **options):
    model = SequenceVAE(4, 3, 5, 2, rng=np.random.default_rng(1), cell=cell, **options)
    return random_biases(model)


def elman(w, name, x, h):
    return np.tanh(x @ w[f"{name}.W_x"] + h @ w[f"{name}.W_h"] + w[f"{name}.b"])


def one_sequence_in_numpy(model, tokens, epsilon):
    w = weights(model)
    E, h = w["embedding.W"], np.zeros(5)
    for token in tokens:
        h = elman(w, "encoder", E[token], h)
    mean = h @ w["posterior.mean.W"] + w["posterior.mean.b"]
    log_variance = h @ w["posterior.log_variance.W"] + w["posterior.log_variance.b"]
    z = mean + np.exp(log_variance / 2) * epsilon
    h, log_likelihood = np.tanh(z @ w["decoder.first.W"] + w["decoder.first.b"]), 0.0
    for before, token in zip([4, *tokens[:-1]], tokens, strict=True):  # 4 is the start token
        h = elman(w, "decoder.cell", np.concatenate([E[before], z]), h)
        logits = h @ w["decoder.output.W"] + w["decoder.output.b"]
        log_likelihood += log_softmax(logits)[token]
    kl = ((mean**2 + np.exp(log_variance) - 1 - log_variance) / 2).sum()
    return log_likelihood, kl


def test_elbo_equals_numpy_for_sequences():
    model, epsilon = sequence_model(), RNG.normal(size=(3, 2))
    got = pytensor.function([], [*model.terms(TOKENS, MASK, epsilon=epsilon)], mode=QUICK)()
    each = [one_sequence_in_numpy(model, TOKENS[MASK[:, b], b], epsilon[b]) for b in range(3)]
    np.testing.assert_allclose(got, np.mean(each, axis=0), rtol=1e-12)


def test_what_padding_holds_changes_no_number_nor_gradient():
    model, epsilon = sequence_model(LSTMCell), RNG.normal(size=(3, 2))
    tokens = pt.lmatrix("tokens")
    bound = model.elbo(tokens, MASK, epsilon=epsilon)
    call = pytensor.function([tokens], [bound, *pytensor.grad(bound, model.params)], mode=QUICK)
    others = np.where(MASK, TOKENS, (TOKENS + 1) % 4)
    longer = np.concatenate([TOKENS, TOKENS[:2]])
    for a, b in zip(call(TOKENS), call(others), strict=True):
        np.testing.assert_array_equal(a, b)
    mask = np.concatenate([MASK, MASK[:2] < 0])
    more = model.elbo(longer, mask, epsilon=epsilon).eval(mode=QUICK)
    assert more == pytest.approx(float(call(TOKENS)[0]), abs=1e-12)


def test_a_column_without_a_token_is_no_sequence():
    model, epsilon = sequence_model(), RNG.normal(size=(3, 2))
    tokens, mask, draws = pt.lmatrix("tokens"), pt.matrix("mask", dtype="bool"), pt.matrix("draws")
    terms = pytensor.function(
        [tokens, mask, draws], [*model.terms(tokens, mask, epsilon=draws)], mode=QUICK
    )
    alone = terms(TOKENS, MASK, epsilon)
    wider = [np.pad(a, [(0, 0), (0, 2)]) for a in (TOKENS, MASK)]
    np.testing.assert_allclose(terms(*wider, np.pad(epsilon, [(0, 2), (0, 0)])), alone, rtol=1e-12)
    np.testing.assert_array_equal(terms(TOKENS, MASK & False, epsilon), 0)  # as of every loss
    with pytest.raises(ValueError, match="padding must come last"):
        terms(TOKENS[::-1], MASK[::-1], epsilon)


def test_gradients_of_a_sequence_model_are_those_of_finite_differences():
    model, epsilon = sequence_model(), RNG.normal(size=(3, 2))
    names = [p.name for p in model.params]
    assert len(set(names)) == len(names)
    checked = [model.embedding.W, model.posterior.log_variance.W, model.decoder.first.W]

    def bound(*values):
        elbo = model.elbo(TOKENS, MASK, epsilon=epsilon)
        return clone_replace(elbo, dict(zip(checked, values, strict=True)))

    values = [p.get_value() for p in checked]
    verify_grad(bound, values, rng=np.random.default_rng(1), mode=QUICK)


def test_word_dropout_shows_the_decoder_another_token_in_training_alone():
    model, epsilon = sequence_model(word_dropout=1.0), RNG.normal(size=(3, 2))
    tokens = pt.lmatrix("tokens")
    terms = [model.terms(tokens, MASK, epsilon=epsilon, training=k)[0] for k in (True, False)]
    z = model.encode(tokens, MASK).at(epsilon)
    logits = model.decoder.logits(z, tokens, training=True)
    call = function([tokens], [*terms, logits], on_unused_input="ignore")
    in_training, at_inference, shown = call(TOKENS)
    assert in_training != at_inference
    assert np.isfinite(shown).all()
    w, d = weights(model), z.eval({tokens: TOKENS}, mode=QUICK)
    h = np.tanh(d @ w["decoder.first.W"] + w["decoder.first.b"])
    for t, before in enumerate((4, 5, 5, 5)):  # start, and then what stands for no other
        e = np.broadcast_to(w["embedding.W"][before], (3, 3))
        h = elman(w, "decoder.cell", np.concatenate([e, d], 1), h)
        expected = h @ w["decoder.output.W"] + w["decoder.output.b"]
        np.testing.assert_allclose(shown[t], expected, atol=1e-12)


# generation


def test_step_by_step_a_decoder_computes_the_logits_of_all_steps_at_once():
    rng = np.random.default_rng(3)
    model = SequenceVAE(4, 3, 5, 2, rng=rng, cell=LSTMCell)
    d = RNG.normal(size=(3, 2))
    logits = model.decoder.logits(pt.constant(d), TOKENS).eval(mode=QUICK)
    start, step = model.decoder.compile_start(), model.decoder.compile_step()
    state, last = start(d), np.full(3, model.decoder.start)
    for t in range(4):
        log_p, *state = step(last, d, *state)
        np.testing.assert_allclose(log_p, log_softmax(logits[t], axis=-1), atol=1e-12)
        last = TOKENS[t]


def test_greedy_sequences_are_the_most_probable_tokens_and_samples_are_reproducible():
    model = sequence_model()
    generator = SequenceGenerator(model.decoder, eos=3, longest=6)
    d = 3 * RNG.normal(size=(5, 2))
    for row, sequence in zip(d, generator.generate(d), strict=True):
        assert len(sequence) <= 6
        assert 3 not in sequence
        assert generator.generate(row[None]) == [sequence]  # side by side as alone
        logits = model.decoder.logits(pt.constant(row[None]), np.array([*sequence, 3])[:, None])
        assert logits.eval(mode=QUICK)[: len(sequence), 0].argmax(axis=1).tolist() == sequence
    a, b, c = (
        generator.generate(np.zeros((40, 2)), rng=np.random.default_rng(k)) for k in (1, 1, 2)
    )
    assert a == b != c
    banned = SequenceGenerator(model.decoder, eos=3, longest=6, banned=[0])
    assert not any(0 in sequence for sequence in banned.generate(d, rng=np.random.default_rng(1)))


def test_what_does_not_fit_is_refused():
    rng = np.random.default_rng(1)
    for make, message in (
        (
            lambda: VAE(3, 4, 2, rng=rng, outputs="poisson"),
            "outputs is 'poisson', but must be one of 'bernoulli'",
        ),
        (lambda: VAE(3, 0, 2, rng=rng), "n_hidden is 0, but must be .* at least 1"),
        (lambda: VAE(3, 4, 0, rng=rng), "n_latent is 0"),
        (
            lambda: SequenceVAE(3, 4, 5, 2, rng=rng, word_dropout=1.5),
            "word_dropout is 1.5, but must be",
        ),
        (
            lambda: SequenceGenerator(sequence_model().decoder, eos=4),
            "eos is 4, but must be a token id, from 0 to 3",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            make()
    decoder = sequence_model().decoder
    with pytest.raises(TypeError, match=r"eos is 1\.0, but must be a token id"):
        SequenceGenerator(decoder, eos=1.0)
    for eos, banned, message in (
        (None, [], "eos is None.* a vocabulary with <eos>"),
        (3, [0, 7], "a banned token is 7, but must be a token id, from 0 to 3"),
        (3, [-1], "a banned token is -1"),
        (3, [0, 3], "eos, 3, is banned"),
    ):
        with pytest.raises(ValueError, match=message):
            SequenceGenerator(decoder, eos=eos, banned=banned)
    model = VAE(3, 4, 2, rng=rng)
    with pytest.raises(ValueError, match="epsilon has 1 axes, but z has 2"):
        model.elbo(np.eye(3), epsilon=np.zeros(2))
    with pytest.raises(ValueError, match="epsilon does not have the shape of z"):
        model.elbo(np.eye(3), epsilon=np.zeros((1, 2))).eval(mode=QUICK)
    with pytest.raises(ValueError, match="epsilon does not have the shape of z"):
        model.elbo(np.eye(3), epsilon=np.zeros((5, 2))).eval(mode=QUICK)
    for negative in (-1, np.float32(-1)):
        with pytest.raises(ValueError, match="kl_weight is -1"):
            model.compile_training(lambda *_: {}, kl_weight=negative)
    elbo = model.compile_elbo()
    with pytest.raises(ValueError, match=r'must be from 0 to 1.* outputs="gaussian"'):
        elbo(2 * np.eye(3))
    with pytest.raises(ValueError, match=r"shape \(batch, 3\): the model has n_in=3"):
        elbo(np.eye(4))
    generator = SequenceGenerator(sequence_model().decoder, eos=3)
    with pytest.raises(ValueError, match=r"shape \(2, 3\), but must have \(batch, n_condition\)"):
        generator.generate(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="its training diverged"):
        generator.generate([[np.nan, 0.0]])
    sequences = sequence_model().compile_elbo()
    with pytest.raises(ValueError, match="a token id is below 0, or not below n_tokens"):
        sequences(TOKENS + 9, MASK)
    with pytest.raises(ValueError, match="the mask's shape"):
        sequences(TOKENS, MASK[1:])


def test_all_is_in_the_dtype_of_the_weights():
    with pytensor.config.change_flags(floatX="float32"):
        rng = np.random.default_rng(1)
        x = np.eye(3, dtype="float32")
        for outputs in ("bernoulli", "gaussian"):
            assert VAE(3, 4, 2, rng=rng, outputs=outputs).elbo(x).dtype == "float32"
        assert SequenceVAE(4, 3, 5, 2, rng=rng).elbo(TOKENS, MASK).dtype == "float32"
        assert draw_normal(rng, (2, 3)).dtype == "float32"


def test_normal_draws_have_mean_0_and_variance_1_and_are_new_at_each_call():
    draw = function([], draw_normal(np.random.default_rng(1), (100, 50)))
    first, second = draw(), draw()
    assert abs(first.mean()) < 4 / np.sqrt(5000)
    assert first.var() == pytest.approx(1, abs=4 * np.sqrt(2 / 5000))
    assert (first != second).any()
    with pytest.raises(TypeError, match="must be a generator"):
        draw_normal(7, (2,))
