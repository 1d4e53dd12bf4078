import importlib.util
import json

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from conftest import FIXTURES
from scipy.special import softmax

from symrnn.compiling.modes import QUICK
from symrnn.nn.attention import SCORES, Attention, masked_softmax

TORCH = json.loads((FIXTURES / "torch_seq2seq.json").read_text(encoding="utf-8"))["attention"]
KERAS = json.loads((FIXTURES / "keras_attention.json").read_text(encoding="utf-8"))
STEPS, BATCH, POSITIONS, N = 2, 3, 5, 4
RNG = np.random.default_rng(1)
QUERY, D_CONTEXT = RNG.normal(size=(2, STEPS, BATCH, N))
MEMORY = RNG.normal(size=(POSITIONS, BATCH, N))
MASK = np.arange(POSITIONS)[:, None] < np.array([5, 2, 3])


def compiled(attention):
    """Contexts, weights, and the gradients of sum(contexts * d): of query, memory and params."""
    q, m, d = pt.tensor3("q"), pt.tensor3("m"), pt.tensor3("d")
    mask = pt.matrix("mask", dtype="bool")
    context, weights = attention(q, m, mask=mask)
    gradients = pytensor.grad((context * d).sum(), [q, m, *attention.params])
    return pytensor.function([q, m, mask, d], [context, weights, *gradients], mode=QUICK)


@pytest.fixture(scope="module", params=SCORES)
def made(request):
    attention = Attention(request.param, N, N, rng=np.random.default_rng(2))
    for p in attention.params:  # b too
        p.set_value(np.random.default_rng(3).normal(size=p.get_value().shape))
    return attention, compiled(attention)


def score_by_hand(attention, q, m):
    if attention.score == "general":
        return sum(q[i] * attention.W.get_value()[i, j] * m[j] for i in range(N) for j in range(N))
    if attention.score == "additive":
        W_q, W_m, b, v = (p.get_value() for p in attention.params)
        return sum(v[j] * np.tanh(q @ W_q[:, j] + m @ W_m[:, j] + b[j]) for j in range(len(v)))
    return sum(q * m) / (2 if attention.score == "scaled" else 1)  # 2 = sqrt(N)


def by_hand(attention, query, memory, mask):
    context, weights = np.zeros((STEPS, BATCH, N)), np.zeros((STEPS, BATCH, POSITIONS))
    for t in range(STEPS):
        for b in range(BATCH):
            valid = [j for j in range(POSITIONS) if mask[j, b]]
            e = np.exp([score_by_hand(attention, query[t, b], memory[j, b]) for j in valid])
            for j, part in zip(valid, e / sum(e), strict=True):
                weights[t, b, j] = part
                context[t, b] += part * memory[j, b]
    return context, weights


def test_contexts_and_weights_equal_a_plain_loop(made):
    attention, call = made
    context, weights = by_hand(attention, QUERY, MEMORY, MASK)
    got = call(QUERY, MEMORY, MASK, D_CONTEXT)
    np.testing.assert_allclose(got[0], context, rtol=0, atol=1e-13)
    np.testing.assert_allclose(got[1], weights, rtol=0, atol=1e-13)
    np.testing.assert_allclose(got[1].sum(axis=2), 1, rtol=1e-14)
    assert (got[1].transpose(0, 2, 1)[:, ~MASK] == 0).all()


def test_gradients_equal_finite_differences(made):
    attention, call = made
    query, memory = QUERY.copy(), MEMORY.copy()
    _, _, *gradients = call(query, memory, MASK, D_CONTEXT)
    values = [query, memory, *(p.get_value(borrow=True) for p in attention.params)]
    for value, gradient in zip(values, gradients, strict=True):
        assert gradient.shape == value.shape
        for index in np.ndindex(value.shape):
            was, of = value[index], []
            for value[index] in (was + 1e-5, was - 1e-5):
                of.append((by_hand(attention, query, memory, MASK)[0] * D_CONTEXT).sum())
            value[index] = was
            assert gradient[index] == pytest.approx((of[0] - of[1]) / 2e-5, rel=1e-6, abs=1e-8)


def test_what_padding_holds_even_nan_changes_no_number(made):
    _, call = made
    memory = MEMORY.copy()
    memory[~MASK] = np.nan
    for got, expected in zip(
        call(QUERY, memory, MASK, D_CONTEXT), call(QUERY, MEMORY, MASK, D_CONTEXT), strict=True
    ):
        assert np.isfinite(got).all()
        np.testing.assert_array_equal(got, expected)


def test_a_sample_without_valid_positions_has_zeros_and_no_gradient(made):
    _, call = made
    mask, memory = MASK.copy(), MEMORY.copy()
    mask[:, 1], memory[:, 1] = False, np.nan
    context, weights, d_query, d_memory, *rest = call(QUERY, memory, mask, D_CONTEXT)
    for array in (context[:, 1], weights[:, 1], d_query[:, 1], d_memory[:, 1]):
        assert (array == 0).all()
    two = [0, 2]  # the other rows, alone
    alone = call(QUERY[:, two], MEMORY[:, two], mask[:, two], D_CONTEXT[:, two])
    for got, expected in zip((context[:, two], weights[:, two]), alone, strict=False):
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-14)
    for got, expected in zip(rest, alone[4:], strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-13)


def test_large_scores_overflow_nothing(made):
    _, call = made
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        arrays = call(QUERY * 1e4, MEMORY, MASK, D_CONTEXT)
    assert all(np.isfinite(array).all() for array in arrays)
    np.testing.assert_allclose(arrays[1].sum(axis=2), 1, rtol=1e-14)


def test_keys_can_be_computed_before_and_no_mask_means_that_all_are_valid(made):
    attention, call = made
    m = pt.constant(MEMORY)
    context, weights = attention(QUERY, m, keys=attention.keys(m))
    got = pytensor.function([], [context, weights], mode=QUICK)()
    everywhere = call(QUERY, MEMORY, np.ones_like(MASK), D_CONTEXT)
    for a, b in zip(got, everywhere, strict=False):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-14)


@pytest.mark.parametrize("case", TORCH, ids=lambda case: f"scale-{case['scale']}")
def test_scaled_and_dot_equal_torchs_own_attention(case):
    arrays = {name: np.array(value) for name, value in case.items()}
    call = compiled(Attention("scaled" if case["scale"] is None else "dot", N, N))
    names = ("query", "memory", "mask", "d_context")  # torch's first axis is the batch
    context, _, *gradients = call(*(arrays[name].swapaxes(0, 1) for name in names))
    for got, name in zip((context, *gradients), ("context", "d_query", "d_memory"), strict=True):
        np.testing.assert_allclose(got.swapaxes(0, 1), arrays[name], rtol=0, atol=1e-9)


def test_additive_equals_keras():
    arrays = {name: np.array(value) for name, value in KERAS.items()}
    attention = Attention("additive", N, N, rng=np.random.default_rng(1))
    for p, value in zip(attention.params, (np.eye(N), np.eye(N), np.zeros(N)), strict=False):
        p.set_value(value)
    attention.v.set_value(arrays["v"])
    names = ("query", "memory", "mask", "d_context")  # Keras' first axis is the batch
    call = compiled(attention)
    context, weights, d_q, d_m, *_, d_v = call(*(arrays[name].swapaxes(0, 1) for name in names))
    found = {"context": context, "weights": weights, "d_query": d_q, "d_memory": d_m}
    for name, got in found.items():
        np.testing.assert_allclose(got.swapaxes(0, 1), arrays[name], rtol=0, atol=1e-9)
    np.testing.assert_allclose(d_v, arrays["d_v"], rtol=0, atol=1e-9)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_keras_itself_still_gives_the_fixture(monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    pytest.importorskip("keras")
    path = FIXTURES / "keras_attention.py"
    spec = importlib.util.spec_from_file_location("script", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    live = script.everything()
    assert live.keys() == KERAS.keys()
    for name in live.keys() - {"keras"}:
        np.testing.assert_allclose(live[name], KERAS[name], rtol=0, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("score", ["general", "additive"])
def test_query_and_memory_may_differ_in_size(score):
    attention = Attention(score, 3, N, rng=np.random.default_rng(1), n_hidden=6)
    shapes = {p.name: p.get_value().shape for p in attention.params}
    if score == "general":
        assert shapes == {"W": (3, 4)}
    else:
        assert shapes == {"W_q": (3, 6), "W_m": (4, 6), "b": (6,), "v": (6,)}
        bound = np.sqrt(3 / 6)  # so that v . tanh(...) is at most about as large as 1
        assert (np.abs(attention.v.get_value()) <= bound).all()
        assert (attention.b.get_value() == 0).all()
    context, weights = attention(QUERY[:, :, :3], MEMORY, mask=MASK)
    got = pytensor.function([], [context, weights], mode=QUICK)()
    assert [a.shape for a in got] == [(STEPS, BATCH, N), (STEPS, BATCH, POSITIONS)]


def test_softmax_of_the_valid_scores_is_the_softmax_of_them_alone():
    scores, row = pt.tensor3("scores"), pt.vector("row", dtype="bool")
    softmax_of = masked_softmax(scores, mask=row[None, None])  # the mask is broadcast to all rows
    call = pytensor.function([scores, row], softmax_of, mode=QUICK)
    z, valid = np.random.default_rng(4).normal(0, 9, size=(2, 3, 5)), np.arange(5) % 3 > 0
    z[0, 0, 0] = np.nan
    got = call(z, valid)
    assert (got[..., ~valid] == 0).all()
    np.testing.assert_allclose(got[..., valid], softmax(z[..., valid], axis=-1), rtol=1e-14)


@pytest.mark.parametrize("score", SCORES)
def test_the_dtype_is_that_of_the_weights(score):
    with pytensor.config.change_flags(floatX="float32"):
        attention = Attention(score, N, N, rng=np.random.default_rng(1))
    context, weights = attention(QUERY.astype("float32"), MEMORY.astype("float32"), mask=MASK)
    assert (context.dtype, weights.dtype) == ("float32", "float32")
    if attention.params:
        context, weights = attention(QUERY, MEMORY, mask=MASK)
        assert (context.dtype, weights.dtype) == ("float32", "float32")


@pytest.fixture(scope="module", params=SCORES)
def of_any_shape(request):
    attention = Attention(request.param, N, N, rng=np.random.default_rng(1))
    q, m, k = pt.tensor3("q"), pt.tensor3("m"), pt.tensor3("k")
    whole, given = (attention(q, m, keys=keys)[0] for keys in (None, k))
    alone = pytensor.function([m], attention.keys(m), mode=QUICK)
    whole = pytensor.function([q, m], whole, mode=QUICK)
    given = pytensor.function([q, m, k], given, mode=QUICK)
    return whole, lambda q, m: given(q, m, alone(m)), given


@pytest.mark.parametrize(
    ("query", "memory"),
    [
        ((2, 3, 5), (5, 3, 5)),  # would run, and be divided by the root of another number
        ((2, 3, 5), (5, 3, N)),
        ((2, 3, N), (5, 3, 5)),
        ((2, 3, N), (5, 1, N)),
        ((2, 1, N), (5, 3, N)),
        ((0, 3, N), (5, 3, N)),
        ((2, 3, N), (0, 3, N)),
        ((2, 0, N), (5, 0, N)),
    ],
)
def test_shapes_that_do_not_fit_are_refused_when_called(of_any_shape, query, memory):
    for f in of_any_shape[:2]:
        assert f(QUERY, MEMORY).shape == (STEPS, BATCH, N)
        with pytest.raises(ValueError, match=f"memory .*must have .*n_memory|n_memory = {N}"):
            f(np.ones(query), np.ones(memory))


def test_constants_of_different_batches_are_refused_at_once():
    with pytest.raises(ValueError, match=r"of the same batch.*\(the batches are 3 and 2\)"):
        Attention("dot", N, N)(QUERY, MEMORY[:, :2])


def test_keys_of_another_memory_are_refused_when_called(of_any_shape):
    with pytest.raises(ValueError, match="keys must be what the method keys returned for"):
        of_any_shape[2](QUERY, MEMORY, MEMORY[1:])


def test_what_does_not_fit_is_refused():
    rng = np.random.default_rng(1)
    with pytest.raises(ValueError, match="score is 'cosine', but must be one of 'dot', 'scaled'"):
        Attention("cosine", N, N)
    for score in ("dot", "scaled"):
        with pytest.raises(ValueError, match=r"n_query is 3 and n_memory 4, .*equal: 'general'"):
            Attention(score, 3, N)
    for sizes in ((0, N), (N, 0), (N, N, 0), (N, 2.5)):
        n_query, n_memory, n_hidden = (*sizes, None)[:3]
        with pytest.raises(ValueError, match=r"n_(query|memory|hidden) is .*whole number"):
            Attention("additive", n_query, n_memory, rng=rng, n_hidden=n_hidden)
    with pytest.raises(ValueError, match="W: an initializer draws random numbers"):
        Attention("general", N, N)
    attention = Attention("dot", N, N)
    with pytest.raises(ValueError, match="the query has 2 axes, but must have three"):
        attention(QUERY[0], MEMORY)
    with pytest.raises(ValueError, match="the memory has 2 axes, but must have three"):
        attention(QUERY, MEMORY[0])
    with pytest.raises(ValueError, match=r"the query has 3 features, .* made for 4: .* n_query"):
        attention(QUERY[:, :, :3], MEMORY)
    with pytest.raises(ValueError, match=r"the memory has 3 features, .* n_memory"):
        attention(QUERY, MEMORY[:, :, :3])
    with pytest.raises(TypeError, match="dtype int64, but must be of a float dtype"):
        attention(np.ones((1, 3, N), dtype=int), MEMORY)
    with pytest.raises(TypeError, match="scores has dtype int64"):
        masked_softmax(np.ones((1, 3), dtype=int))
    with pytest.raises(ValueError, match="the mask has 3 axes and x 3"):
        attention(QUERY, MEMORY, mask=MEMORY)
    with pytest.raises(ValueError, match=r"the mask has shape \(3, 5\)"):
        attention(QUERY, MEMORY, mask=MASK.T)
    with pytest.raises(ValueError, match="other than 0 and 1"):
        attention(QUERY, MEMORY, mask=2 * MASK)[1].eval(mode=QUICK)
