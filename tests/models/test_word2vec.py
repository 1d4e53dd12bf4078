import time

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.compile.mode import Mode
from scipy.special import log_softmax

from symrnn.compiling.modes import QUICK
from symrnn.kernels.scatter_add import is_scatter_add
from symrnn.models.word2vec import (
    CBOW,
    SkipGram,
    _sum_softplus,
    gradient_descent_on_rows,
    take_rows,
)
from symrnn.training.optimizers import gradient_descent

N, D = 7, 3
WORDS = {
    SkipGram: np.array([2, 5, 2, 2]),
    CBOW: np.array([[2, 5, -1], [-1, -1, 0], [2, 2, 5], [4, 2, 2]]),
}
TARGETS = np.array([1, 2, 1, 6])
NEGATIVES = {
    "softmax": None,
    # also the target itself, and the same twice
    "per target": np.array([[1, 1], [3, 2], [2, 1], [0, 3]]),
    "shared": np.array([1, 3, 3, 0, 6]),
}  # fmt: skip
MODELS = pytest.mark.parametrize("kind", [SkipGram, CBOW])
LOSSES = pytest.mark.parametrize("loss", NEGATIVES)


def made(kind):
    """A model with random weights, U too."""
    rng = np.random.default_rng(3)
    model = kind(N, D, rng=rng)
    for w in model.params:
        w.set_value(rng.normal(size=w.get_value().shape).astype(w.dtype))
    return model


def graph(model, loss):
    """Symbolic inputs, the loss, and the rows that take part."""
    words, targets = model.inputs(), pt.lvector("targets")
    if loss == "softmax":
        return [words, targets], *model.softmax_loss(words, targets)
    negatives = pt.lmatrix("negatives") if loss == "per target" else pt.lvector("negatives")
    k = None if loss == "per target" else 2
    inputs = [words, targets, negatives]
    return inputs, *model.negative_sampling_loss(*inputs, k=k)


def batch(kind, loss):
    return [WORDS[kind], TARGETS, *([] if NEGATIVES[loss] is None else [NEGATIVES[loss]])]


def compiled(model, loss, learning_rate, mode=None):
    if loss == "softmax":
        return model.compile_softmax(learning_rate, mode=mode)
    return model.compile_negative_sampling(
        learning_rate, k=None if loss == "per target" else 2, mode=mode
    )


def by_hand(kind, loss, V, U):
    """The equations, sample by sample."""
    total = 0
    for b, t in enumerate(TARGETS):
        w = WORDS[kind][b]
        h = V[w] if kind is SkipGram else V[w[w >= 0]].mean(axis=0)
        if loss == "softmax":
            total -= log_softmax(U @ h)[t]
            continue
        n = NEGATIVES[loss][b] if loss == "per target" else NEGATIVES[loss]
        total += np.log1p(np.exp(-U[t] @ h)) + 2 / len(n) * np.log1p(np.exp(U[n] @ h)).sum()
    return total / len(TARGETS)


@MODELS
@LOSSES
def test_losses_equal_their_equations(kind, loss):
    model = made(kind)
    inputs, value, _ = graph(model, loss)
    f = pytensor.function(inputs, value, mode=QUICK)
    expected = by_hand(kind, loss, *(w.get_value() for w in model.params))
    np.testing.assert_allclose(f(*batch(kind, loss)), expected, rtol=1e-13)


@MODELS
@LOSSES
def test_updates_of_rows_equal_dense_gradient_descent(kind, loss):
    model, dense = made(kind), made(kind)
    inputs, value, _ = graph(dense, loss)
    updates = gradient_descent(value, dense.params, 0.7)
    dense_step = pytensor.function(inputs, value, updates=updates, mode=QUICK)
    step = compiled(model, loss, 0.7)
    for _ in range(5):
        np.testing.assert_allclose(
            step(*batch(kind, loss)), dense_step(*batch(kind, loss)), rtol=0, atol=1e-12
        )
    for w, expected in zip(model.params, dense.params, strict=True):
        np.testing.assert_allclose(w.get_value(), expected.get_value(), rtol=0, atol=1e-12)


@MODELS
@LOSSES
def test_only_the_rows_of_the_batch_change(kind, loss):
    model = made(kind)
    before = [w.get_value() for w in model.params]
    compiled(model, loss, 0.1)(*batch(kind, loss))
    V_changed, U_changed = (
        set(np.flatnonzero((w.get_value() != old).any(axis=1)).tolist())
        for w, old in zip(model.params, before, strict=True)
    )
    assert V_changed == set(WORDS[kind].ravel().tolist()) - {-1}
    taken = set(TARGETS.tolist()) | set(np.ravel(NEGATIVES[loss]).tolist())
    assert U_changed == (set(range(N)) if loss == "softmax" else taken)


@MODELS
@pytest.mark.parametrize("loss", ["per target", "shared"])
def test_the_matrices_are_changed_in_place_and_nothing_else_is_as_large(kind, loss):
    step = compiled(made(kind), loss, 0.1, mode=Mode("py", "fast_run"))
    nodes = step.maker.fgraph.toposort()
    changes = [node for node in nodes if is_scatter_add(node.op)]
    assert len(changes) == 3
    assert all(node.op.inplace for node in changes)
    large = [
        node for node in nodes
        if any(o.type.shape[:1] == (N,) for o in node.outputs) and node not in changes
    ]  # fmt: skip
    assert not large


@MODELS
def test_pointwise_mutual_information_less_log_k_is_where_negative_sampling_rests(kind):
    n, k = 5, 3
    rng = np.random.default_rng(1)
    counts = rng.integers(1, 6, (n, n))
    counts += counts.T
    noise = counts.sum(axis=0)  # also how often each word is a target
    pmi = np.log(counts * counts.sum() / np.outer(noise, noise)) - np.log(k)
    model = kind(n, n, rng=rng)
    model.W_in.set_value(pmi)
    model.W_out.set_value(np.eye(n))
    step = model.compile_negative_sampling(1.0, k=k)
    i, j = np.indices((n, n)).reshape(2, -1)
    words, targets = np.repeat(i, counts.ravel()), np.repeat(j, counts.ravel())
    if kind is CBOW:
        words = words[:, None]
    step(words, targets, np.repeat(np.arange(n), noise))  # each noise word as often as it is drawn
    np.testing.assert_allclose(model.W_in.get_value(), pmi, rtol=0, atol=1e-14)
    np.testing.assert_allclose(model.W_out.get_value(), np.eye(n), rtol=0, atol=1e-14)


@pytest.mark.parametrize("n", [1, 5, 1000])
@pytest.mark.parametrize("scale", [0.1, 10, 1000])
def test_the_loss_with_one_logarithm_a_row_is_the_sum_of_softplus(n, scale):
    x = scale * np.random.default_rng(1).normal(size=(4, n))
    got = _sum_softplus(pt.constant(x)).eval(mode=QUICK)
    np.testing.assert_allclose(got, np.logaddexp(0, x).sum(axis=1), rtol=1e-12, atol=1e-15 * n)


def test_cbow_of_one_word_is_skip_gram():
    models = made(SkipGram), made(CBOW)
    losses = []
    for model, words in zip(models, (WORDS[SkipGram], WORDS[SkipGram][:, None]), strict=True):
        step = compiled(model, "per target", 0.3)
        losses.append([float(step(words, TARGETS, NEGATIVES["per target"])) for _ in range(3)])
    np.testing.assert_allclose(*losses, rtol=1e-13)


def test_the_learning_rate_may_be_shared_and_change():
    learning_rate = pytensor.shared(0.0, name="learning_rate")
    model = made(SkipGram)
    before = model.W_in.get_value()
    step = model.compile_negative_sampling(learning_rate)
    step(*batch(SkipGram, "per target"))
    np.testing.assert_array_equal(model.W_in.get_value(), before)
    learning_rate.set_value(1.0)
    step(*batch(SkipGram, "per target"))
    assert (model.W_in.get_value() != before).any()


@MODELS
@LOSSES
def test_float32_stays_float32(kind, loss):
    with pytensor.config.change_flags(floatX="float32"):
        model = made(kind)
        value = compiled(model, loss, 0.1)(*batch(kind, loss))
        assert value.dtype == np.float32
        assert {w.get_value().dtype.name for w in model.params} == {"float32"}


@pytest.mark.numba
@pytest.mark.parametrize("loss", [pytest.param("per target", marks=pytest.mark.slow), "shared"])
def test_numba_computes_the_same(loss):
    quick, fast = made(SkipGram), made(SkipGram)
    a, b = compiled(quick, loss, 0.5), compiled(fast, loss, 0.5, mode="NUMBA")
    for _ in range(3):
        np.testing.assert_allclose(a(*batch(SkipGram, loss)), b(*batch(SkipGram, loss)), rtol=1e-12)
    for w, expected in zip(fast.params, quick.params, strict=True):
        np.testing.assert_allclose(w.get_value(), expected.get_value(), rtol=1e-12)


def test_rows_taken_twice_add_up():
    W = pytensor.shared(np.zeros((4, 2)))
    one, two = take_rows(W, [[1, 1], [0, 3]]), take_rows(W, [3])
    loss = one.values.sum() + 5 * two.values.sum()
    updates = gradient_descent_on_rows(loss, [one, two], 1.0)
    pytensor.function([], updates=updates, mode=QUICK)()
    np.testing.assert_array_equal(W.get_value()[:, 0], [-1, -2, 0, -6])


@pytest.mark.parametrize(
    ("kind", "changed", "message"),
    [
        (SkipGram, {0: np.array([2, 5, 2, N])}, "not below n_tokens"),
        (SkipGram, {0: np.array([2, 5, 2, -1])}, "a token id is below 0"),
        (SkipGram, {1: np.array([1, 2, 1, N])}, "not below n_tokens"),
        (SkipGram, {2: NEGATIVES["per target"] + N}, "not below n_tokens"),
        (SkipGram, {1: TARGETS[:3]}, "must be of one batch"),
        (SkipGram, {2: NEGATIVES["per target"][:1]}, "must be of one batch"),
        (SkipGram, {2: np.ones((4, 1001), int)}, "at most 1000"),
        (CBOW, {0: np.full((4, 2), -1)}, "a row of words holds no word"),
        (CBOW, {0: np.array([[1, -2], [1, 2], [3, -1], [4, 5]])}, "a token id is below 0"),
        (SkipGram, {2: np.ones((4, 0), int)}, "at least 1"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused_and_changes_nothing(kind, changed, message):
    model = made(kind)
    step, before = compiled(model, "per target", 0.1), [w.get_value() for w in model.params]
    given = [changed.get(k, value) for k, value in enumerate(batch(kind, "per target"))]
    with pytest.raises(ValueError, match=message):
        step(*given)
    for w, old in zip(model.params, before, strict=True):
        np.testing.assert_array_equal(w.get_value(), old)


def test_empty_shared_negatives_are_refused():
    step = compiled(made(SkipGram), "shared", 0.5)
    with pytest.raises(ValueError, match="at least 1"):
        step(WORDS[SkipGram], TARGETS, np.zeros(0, int))


def test_padding_in_a_context_has_no_influence_even_where_row_0_is_nan():
    model = made(CBOW)
    V = model.W_in.get_value()
    V[0] = np.nan
    model.W_in.set_value(V)
    step = compiled(model, "softmax", 0.5)
    assert np.isfinite(step(np.array([[2, -1], [5, 4]]), TARGETS[:2]))
    assert np.isfinite(model.W_in.get_value()[1:]).all()


@MODELS
def test_losses_take_lists_too(kind):
    model = made(kind)
    lists = [WORDS[kind].tolist(), TARGETS.tolist()]
    for loss, value in (
        ("softmax", model.softmax_loss(*lists)[0]),
        ("per target", model.negative_sampling_loss(*lists, NEGATIVES["per target"].tolist())[0]),
        ("shared", model.negative_sampling_loss(*lists, NEGATIVES["shared"].tolist(), k=2)[0]),
    ):
        expected = by_hand(kind, loss, *(w.get_value() for w in model.params))
        np.testing.assert_allclose(value.eval(mode=QUICK), expected, rtol=1e-13)
    with pytest.raises(ValueError, match=r"negatives have 3 axes, but must be \(batch, k\)"):
        model.negative_sampling_loss(*lists, np.ones((4, 2, 2), int))


@MODELS
def test_sizes_and_learning_rates_must_be_positive(kind):
    for sizes in ((0, 3), (3, 0), (3, -1), (3, 2.0)):
        with pytest.raises(ValueError, match="at least 1"):
            kind(*sizes, rng=np.random.default_rng(1))
    with pytest.raises(TypeError, match="default_rng"):
        kind(3, 2, rng=None)
    for learning_rate in (0, -1, np.nan):
        with pytest.raises(ValueError, match="learning_rate"):
            made(kind).compile_negative_sampling(learning_rate)
    for k in (0, 1.5):
        with pytest.raises(ValueError, match="k is"):
            made(kind).compile_negative_sampling(0.1, k=k)


@pytest.mark.slow
@pytest.mark.numba
def test_a_step_takes_as_long_with_a_hundred_times_as_many_words():
    seconds = []
    for n in (3_000, 300_000):
        with pytensor.config.change_flags(floatX="float32"):
            model = SkipGram(n, 100, rng=np.random.default_rng(1))
            step = model.compile_negative_sampling(0.1, mode="NUMBA")
        few = [np.arange(32), np.arange(32), np.arange(160).reshape(32, 5)]
        timed = []
        for _ in range(60):
            start = time.perf_counter()
            step(*few)
            timed.append(time.perf_counter() - start)
        seconds.append(np.median(timed[10:]))
    assert seconds[1] < 5 * seconds[0]  # reading 300,000 rows once would take a hundred times
