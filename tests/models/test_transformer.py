"""Attention, layers and models of the Transformer: against torch, NumPy loops, and themselves."""

import importlib.util
import json

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from conftest import FIXTURES
from scipy.special import erf, softmax

from symrnn.compiling.function import graph_updates
from symrnn.compiling.modes import QUICK
from symrnn.models.language.generation import TextGenerator
from symrnn.models.language.transformer import TransformerLM
from symrnn.models.seq2seq.encoder_decoder import pair_variables
from symrnn.models.seq2seq.transformer import Transformer
from symrnn.models.seq2seq.translation import Translator
from symrnn.nn.multi_head import MultiHeadAttention
from symrnn.nn.transformer import ACTIVATIONS, FeedForward, Positions, TransformerLayer
from symrnn.text import Characters, PairVocabularies, Vocabulary, padded
from symrnn.training.optimizers import adam, gradient_descent

FIXTURE = FIXTURES / "torch_transformer.json"
TORCH = json.loads(FIXTURE.read_text(encoding="utf-8"))
SIZES = TORCH["sizes"]
N, HEADS = SIZES["n_features"], SIZES["n_heads"]


def valid(lengths):
    return np.arange(max(lengths))[:, None] < lengths


SOURCE, TARGET = (np.array(TORCH["batch"][name]) for name in ("source", "target"))
SOURCE_MASK, TARGET_MASK = (
    valid(TORCH["batch"][f"{name}_lengths"]) for name in ("source", "target")
)
BATCH = SOURCE, SOURCE_MASK, TARGET, TARGET_MASK


def name_of(case):
    return "-".join(f"{k}" if v is True else f"{v}" for k, v in case["options"].items() if v)


# --- the weights of torch ------------------------------------------------------------------------


def fill_attention(attention, given, prefix):
    for end, part in (("weight", "W"), ("bias", "b")):
        q, kv = np.split(given.pop(f"{prefix}in_proj_{end}"), [N])
        getattr(attention.query, part).set_value(q.T)
        getattr(attention.keys_values, part).set_value(kv.T)
    fill_dense(attention.output, given, f"{prefix}out_proj.")


def fill_dense(dense, given, prefix):
    dense.W.set_value(given.pop(f"{prefix}weight").T)
    dense.b.set_value(given.pop(f"{prefix}bias"))


def fill_norm(norm, given, prefix):
    norm.gain.set_value(given.pop(f"{prefix}weight"))
    norm.b.set_value(given.pop(f"{prefix}bias"))


def fill_layer(layer, given, prefix=""):
    fill_attention(layer.self_attention, given, f"{prefix}self_attn.")
    if layer.cross_attention is not None:
        fill_attention(layer.cross_attention, given, f"{prefix}multihead_attn.")
    fill_dense(layer.feed_forward.hidden, given, f"{prefix}linear1.")
    fill_dense(layer.feed_forward.output, given, f"{prefix}linear2.")
    for k, norm in enumerate(layer.norms):
        fill_norm(norm, given, f"{prefix}norm{k + 1}.")


def fill_model(model, given):
    stacks = {"decoder": model.decoder}
    if isinstance(model, Transformer):
        stacks["encoder"] = model.encoder
        tokens = {"source": model.embed_source, "target": model.embed_target}
    else:
        tokens = {"target": model.tokens}
    for name, stack in stacks.items():
        for k, layer in enumerate(stack.layers):
            fill_layer(layer, given, f"{name}.layers.{k}.")
        if stack.norm is not None:
            fill_norm(stack.norm, given, f"{name}.norm.")
    for name, part in tokens.items():
        part.embedding.W.set_value(given.pop(f"{name}.embedding.weight"))
        if part.positions.params:
            part.positions.W.set_value(given.pop(f"{name}.positions.weight"))
    if model.output is not None:
        fill_dense(model.output, given, "output.")
    else:
        model.b.set_value(given.pop("bias"))


def like_torch(case, what):
    """What the case is about, its weights those of torch, or its gradients."""
    options, rng = dict(case["options"]), np.random.default_rng(1)
    given = {name: np.array(value) for name, value in case[what].items()}
    if "n_layers" in options:
        source = options.pop("source", True)
        sizes = [*([5] if source else []), 4, N, HEADS]
        made = (Transformer if source else TransformerLM)(*sizes, **options, rng=rng, n_hidden=6)
        fill_model(made, given)
    elif "norm" in options:
        options["cross_attention"] = options.pop("memory")
        options.pop("causal")
        made = TransformerLayer(**SIZES, rng=rng, **options)
        fill_layer(made, given)
    else:
        made = MultiHeadAttention(N, HEADS, rng=rng)
        fill_attention(made, given, "")
    assert not given
    return made


# --- equal to torch ------------------------------------------------------------------------------


@pytest.mark.parametrize("case", TORCH["layers"], ids=name_of)
def test_attention_and_layers_and_their_gradients_equal_torch(case):
    part, options = like_torch(case, "weights"), case["options"]
    x, m = pt.tensor3("x"), pt.tensor3("m")
    real, real_memory = valid([3, 2]), valid([4, 2])
    if isinstance(part, MultiHeadAttention):
        looked_at = {"memory": m, "mask": real_memory} if options["memory"] else {"mask": real}
        y, weights = part(x, causal=options["causal"], **looked_at)
    elif options["memory"]:
        memory = part.cross_attention.keys_and_values(m, mask=real_memory)
        y, _, weights = part(
            x, mask=real, causal=options["causal"], memory=memory, memory_mask=real_memory
        )
    else:
        y, _, weights = part(x, mask=real, causal=options["causal"])
    d_y = np.array(case["d_y"])
    wrt = [x, *([m] if options["memory"] else []), *part.params]
    gradients = pytensor.grad((y * d_y).sum(), wrt)
    outputs = [y, *gradients, *([] if weights is None else [weights])]
    f = pytensor.function([x, m], outputs, mode=QUICK, on_unused_input="ignore")
    inputs = np.array(case["x"]), np.array(case.get("m", np.zeros((1, 1, N))))
    y, *found = f(*inputs)
    np.testing.assert_allclose(y[real], np.array(case["y"])[real], rtol=0, atol=1e-9)
    of_torch = [case["d_x"], *([case["d_m"]] if options["memory"] else [])]
    of_torch += [p.get_value() for p in like_torch(case, "gradients").params]
    for v, got, expected in zip(wrt, found, of_torch, strict=False):
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-9, err_msg=v.name)
    if "attention" in case:
        expected = np.array(case["attention"])
        np.testing.assert_allclose(found[-1][real], expected[real], rtol=0, atol=1e-9)
    # what padding holds, even NaN, changes no number
    inputs[0][~real] = np.nan
    if options["memory"]:
        inputs[1][~real_memory] = np.nan
    if not isinstance(part, MultiHeadAttention) or not options["memory"]:
        y_again, *again = f(*inputs)
        np.testing.assert_array_equal(y_again[real], y[real])
        for got, expected in zip(again, found[: len(wrt)], strict=False):
            np.testing.assert_array_equal(got, expected)


def models():
    for case in TORCH["models"]:  # more than one layer takes longer, and teaches little more
        slow = [pytest.mark.slow] if case["options"]["n_layers"] > 1 else []
        yield pytest.param(case, id=name_of(case), marks=slow)


@pytest.fixture(scope="module", params=models())
def model(request):
    """A case of torch, the model with its weights, and its loss and gradients as a function."""
    m = like_torch(request.param, "weights")
    if isinstance(m, Transformer):
        inputs = [*pair_variables()]
        loss = m.loss(*inputs)
    else:
        inputs = [pt.lmatrix("x"), pt.lmatrix("t")]
        loss = m.loss(*inputs)
    return request.param, m, pytensor.function(inputs, [loss, *pytensor.grad(loss, m.params)],
                                               mode=QUICK)  # fmt: skip


def arguments(m):
    return BATCH if isinstance(m, Transformer) else (TARGET[:-1], TARGET[1:])


def test_loss_and_gradients_of_models_equal_torch(model):
    case, m, call = model
    loss, *gradients = call(*arguments(m))
    assert loss == pytest.approx(case["loss"], abs=1e-9)
    of_torch = [p.get_value() for p in like_torch(case, "gradients").params]
    for p, got, expected in zip(m.params, gradients, of_torch, strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-9, err_msg=p.name)
    assert len({p.name for p in m.params}) == len(m.params)  # a checkpoint wants that


def test_single_steps_with_what_was_kept_give_the_loss_of_the_whole(model):
    _, m, call = model
    loss, *_ = call(*arguments(m))
    if isinstance(m, Transformer):
        encoded, step = (
            m.compile_encoder(mode=QUICK)(SOURCE, SOURCE_MASK),
            m.compile_step(mode=QUICK),
        )
        n = len(m.decoder_inputs)
        fixed, states = encoded[:n], encoded[n:]
        given, right, mask = [np.full(2, m.start), *TARGET[:-1]], TARGET, TARGET_MASK
    else:
        step, fixed, states = m.compile_next(mode=QUICK), [], m.zeros(batch_size=2)
        given, right, mask = TARGET[:-1], TARGET[1:], np.ones((len(TARGET) - 1, 2), bool)
    log_ps = []
    for token, next_token in zip(given, right, strict=True):
        log_p, *states = step(token, *fixed, *states)
        if isinstance(m, Transformer):
            weights, *states = states
            np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-12)
            assert (weights[~SOURCE_MASK.T] == 0).all()
        log_ps.append(log_p[np.arange(2), next_token])
        assert {s.shape for s in states} == {(2, len(log_ps), 2 * N)}
    assert -np.mean(np.array(log_ps)[mask]) == pytest.approx(loss, rel=1e-12)


def test_what_padding_of_tokens_holds_changes_no_number(model):
    _, m, call = model
    if isinstance(m, TransformerLM):
        pytest.skip("windows of a language model have no padding")
    source = np.where(SOURCE_MASK, SOURCE, (SOURCE + 2) % 5)
    target = np.where(TARGET_MASK, TARGET, (TARGET + 1) % 4)
    changed = call(source, SOURCE_MASK, target, TARGET_MASK)
    for got, expected in zip(changed, call(*BATCH), strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.slow
def test_torch_itself_still_gives_the_fixture():
    pytest.importorskip("torch")
    spec = importlib.util.spec_from_file_location("script", FIXTURE.with_suffix(".py"))
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    live = script.everything()
    assert live["batch"] == TORCH["batch"]
    for kind in ("layers", "models"):
        for case, stored in zip(live[kind], TORCH[kind], strict=True):
            assert (case["options"], case["weights"]) == (stored["options"], stored["weights"])
            for name, gradient in stored["gradients"].items():
                np.testing.assert_allclose(case["gradients"][name], gradient, rtol=0, atol=1e-11)
            for name in stored.keys() & {"loss", "y", "attention", "d_x", "d_m"}:
                np.testing.assert_allclose(case[name], stored[name], rtol=0, atol=1e-11)


# --- by hand, and properties ---------------------------------------------------------------------


def by_hand(attention, x, causal):
    """One query, one head, one sample at a time."""
    W_q, b_q, W_kv, b_kv, W_o, b_o = (p.get_value() for p in attention.params)
    steps, batch, n = x.shape
    d, y = n // attention.n_heads, np.zeros_like(x)
    for b in range(batch):
        for t in range(steps):
            heads = []
            for h in range(attention.n_heads):
                own = slice(h * d, (h + 1) * d)
                q = (x[t, b] @ W_q + b_q)[own]
                seen = range(t + 1 if causal else steps)
                k = [(x[j, b] @ W_kv + b_kv)[:n][own] for j in seen]
                v = [(x[j, b] @ W_kv + b_kv)[n:][own] for j in seen]
                heads.append(softmax(np.array(k) @ q / np.sqrt(d)) @ np.array(v))
            y[t, b] = np.concatenate(heads) @ W_o + b_o
    return y


@pytest.mark.parametrize("causal", [False, True])
def test_attention_equals_plain_loops(causal):
    attention = MultiHeadAttention(6, 3, rng=np.random.default_rng(1))
    for p in attention.params:
        p.set_value(np.random.default_rng(2).normal(size=p.get_value().shape))
    x = np.random.default_rng(3).normal(size=(4, 2, 6))
    y, weights = pytensor.function([], attention(x, causal=causal), mode=QUICK)()
    np.testing.assert_allclose(y, by_hand(attention, x, causal), rtol=0, atol=1e-13)
    np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-14)
    assert (weights[0, :, :, 1:] == 0).all() == causal
    names = [p.name for p in attention.params]
    assert names[:3] == ["query.W", "query.b", "keys_values.W"]


def test_a_sample_without_valid_positions_gets_nothing():
    attention = MultiHeadAttention(N, 2, rng=np.random.default_rng(1))
    x, m = np.ones((2, 2, N)), np.full((3, 2, N), np.nan)
    m[:, 0] = 1
    y, weights = attention(x, m, mask=np.array([[1, 0]] * 3))
    values = pytensor.function([], [y, weights], mode=QUICK)()
    assert (values[0][:, 1] == attention.output.b.get_value()).all()
    np.testing.assert_allclose(values[1].sum(axis=-1)[0], [[1, 1], [0, 0]])


def test_a_causal_mask_excludes_padding_before_a_step_too():
    attention = MultiHeadAttention(N, 2, rng=np.random.default_rng(1))
    _, weights = attention(np.ones((3, 1, N)), mask=np.array([[0], [1], [1]]), causal=True)
    expected = [[0, 0, 0], [0, 1, 0], [0, 0.5, 0.5]]  # (steps, positions)
    for head in weights[:, 0].eval(mode=QUICK).swapaxes(0, 1):
        np.testing.assert_allclose(head, expected, rtol=1e-14)


@pytest.fixture(scope="module")
def causal_logits():
    m = TransformerLM(7, 8, 2, rng=np.random.default_rng(1))
    x = pt.lmatrix("x")
    return pytensor.function([x], m.logits(x)[0], mode=QUICK)


def test_what_comes_later_changes_nothing(causal_logits):
    x = np.random.default_rng(2).integers(7, size=(6, 3))
    z = causal_logits(x)
    for t in range(1, 6):
        other = x.copy()
        other[t:] = (x[t:] + 1) % 7
        changed = causal_logits(other)
        np.testing.assert_array_equal(changed[:t], z[:t])
        assert (changed[t] != z[t]).any(axis=1).all()


def test_several_steps_after_a_past_have_the_logits_of_the_whole():
    m = TransformerLM(7, 8, 2, rng=np.random.default_rng(1))
    x = pt.constant(np.random.default_rng(2).integers(7, size=(6, 3)))
    whole, keys_values = m.logits(x)
    first, past = m.logits(x[:2])
    second, all_steps = m.logits(x[2:], past=past)
    together, apart = [whole, *keys_values], [pt.concatenate([first, second]), *all_steps]
    values = pytensor.function([], [*together, *apart], mode=QUICK)()
    for a, b in zip(values[:3], values[3:], strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-13)


def test_without_positions_the_order_of_the_past_is_unknown_and_with_them_known():
    m = Transformer(7, 4, 8, 2, rng=np.random.default_rng(1), n_layers=1)
    source, mask, *_ = pair_variables()
    x = pt.tensor3("x")
    memory = x
    for layer in m.encoder.layers:
        memory, _, _ = layer(memory)
    f = pytensor.function([x], memory, mode=QUICK)
    v = np.random.default_rng(2).normal(size=(5, 1, 8))
    order = [3, 0, 4, 1, 2]
    np.testing.assert_allclose(f(v[order]), f(v)[order], rtol=0, atol=1e-13)
    g = pytensor.function([source, mask], m.encode(source, mask).memory, mode=QUICK)
    s = np.array([[0], [1], [2], [3], [4]])
    assert np.abs(g(s[order], s >= 0) - g(s, s >= 0)[order]).max() > 0.01


def test_sines_are_those_of_the_equation_and_learned_positions_have_an_end():
    made, steps, first = Positions(6), pt.lscalar("steps"), pt.lscalar("first")
    f = pytensor.function([steps, first], made(steps, first=first), mode=QUICK)
    for t, row in enumerate(f(4, 3), start=3):
        expected = [g(t / 10000 ** (2 * i / 6)) for i in range(3) for g in (np.sin, np.cos)]
        np.testing.assert_allclose(row, expected, rtol=0, atol=1e-14)
    learned = Positions(5, n_learned=4, rng=np.random.default_rng(1))
    f = pytensor.function([steps, first], learned(steps, first=first), mode=QUICK)
    np.testing.assert_array_equal(f(2, 2), learned.W.get_value()[2:])
    for given in ((5, 0), (1, 4)):
        with pytest.raises(ValueError, match="longer than the 4 learned positions"):
            f(*given)
    with pytest.raises(ValueError, match="first is below 0"):
        f(2, -2)


def test_activations_are_those_of_the_equations():
    x = np.linspace(-3, 3, 7)
    relu, gelu = (ACTIVATIONS[name](pt.as_tensor_variable(x)) for name in ("relu", "gelu"))
    np.testing.assert_array_equal(relu.eval(mode=QUICK), np.maximum(x, 0))
    expected = x * (1 + erf(x / np.sqrt(2))) / 2
    np.testing.assert_allclose(gelu.eval(mode=QUICK), expected, rtol=1e-14)


# --- training, answers ---------------------------------------------------------------------------


@pytest.mark.slow
def test_it_learns_to_write_backwards_and_translator_says_so():
    pairs = [("ab", "ba"), ("ba", "ab"), ("aab", "baa"), ("abb", "bba"), ("b", "b")]
    both = PairVocabularies.build(pairs)
    m = Transformer(
        len(both.source), len(both.target), 16, 2, rng=np.random.default_rng(1), n_layers=1
    )
    step = m.compile_training(lambda loss, params: adam(loss, params, 0.01), mode=QUICK)
    sources, targets = both.encode(pairs)
    batch = *padded(sources), *padded([[*t, both.target.eos] for t in targets])
    losses = [float(step(*batch)) for _ in range(80)]
    assert losses[0] > 1
    assert losses[-1] < 0.05
    translator = Translator(m, both, mode=QUICK, longest=6)
    assert translator.accuracy(pairs) == 1
    (greedy,), best = (
        translator.translate(["aab"]),
        translator.beam_search("aab", width=4, n_best=3),
    )
    assert greedy.text == best[0].text == "baa"
    assert greedy.log_p == pytest.approx(best[0].log_p, rel=1e-12)
    assert greedy.weights.shape == (4, 3)  # <eos> too
    batched = [a.log_p for a in translator.translate([source for source, _ in pairs])]
    alone = [translator.translate([source])[0].log_p for source, _ in pairs]
    np.testing.assert_allclose(batched, alone, rtol=1e-10)


def test_writer_writes_with_a_language_model():
    vocabulary = Vocabulary.build("hello\n")
    m = TransformerLM(len(vocabulary), 8, 2, rng=np.random.default_rng(1), n_layers=1, tied=True)
    step = m.compile_training(lambda loss, params: adam(loss, params, 0.02), mode=QUICK)
    ids = vocabulary.encode("\n" + "hello\n" * 3)[:, None]  # TextGenerator begins after a line end
    losses = [float(step(ids[:-1], ids[1:])) for _ in range(80)]
    assert losses[-1] < 0.1 < losses[0]
    assert m.compile_evaluation(mode=QUICK)(ids[:-1], ids[1:]) < losses[-1]
    writer = TextGenerator(m, vocabulary, Characters(), mode=QUICK)
    assert writer.generate("he", length=10) == "llo\nhello\n"
    (best, _), *_ = writer.beam_search("he", 4, width=3)
    assert best == "llo\n"


def test_dropout_is_new_at_each_call_and_off_at_inference():
    m = TransformerLM(5, 8, 2, rng=np.random.default_rng(1), n_layers=1, dropout=0.5)
    x, t = np.zeros((4, 2), int), np.ones((4, 2), int)
    step = m.compile_training(lambda loss, p: gradient_descent(loss, p, 1e-12), mode=QUICK)
    whole = m.compile_evaluation(mode=QUICK)
    losses = [float(step(x, t)) for _ in range(3)]
    assert len({round(loss, 6) for loss in losses}) == 3
    assert whole(x, t) == whole(x, t)


def test_dropout_is_on_the_vectors_of_tokens_and_on_each_part_of_each_layer():
    options = {"rng": np.random.default_rng(1), "n_layers": 2, "dropout": 0.5}
    m, of_text = Transformer(5, 4, 4, 2, **options), TransformerLM(4, 4, 2, **options)
    loss, x = m.loss(*pair_variables(), training=True), pt.lmatrix("x")
    assert len(graph_updates(loss)) == (1 + 2 * 2) + (1 + 2 * 3)  # masks of encoder and decoder
    assert len(graph_updates(of_text.loss(x, x, training=True))) == 1 + 2 * 2
    assert not graph_updates([m.loss(*pair_variables()), of_text.loss(x, x)])


def test_all_is_in_the_dtype_of_the_weights():
    with pytensor.config.change_flags(floatX="float32"):
        m = Transformer(
            5, 4, 8, 2, rng=np.random.default_rng(1), n_layers=1, activation="gelu", dropout=0.1
        )
        loss = m.loss(*pair_variables(), training=True)
        gradients = pytensor.grad(loss, m.params)
    assert {loss.dtype, *(g.dtype for g in gradients)} == {"float32"}


def test_all_stays_in_the_dtype_of_the_weights_where_floats_are_others():
    with pytensor.config.change_flags(floatX="float32"):
        rng = np.random.default_rng(1)
        m = Transformer(5, 4, N, 2, rng=rng, n_layers=1)
        layer, attention = TransformerLayer(N, 2, 8, rng=rng), MultiHeadAttention(N, 2, rng=rng)
    double = np.ones((3, 2, N))
    assert pytensor.config.floatX == "float64"
    made = [m.embed_source(SOURCE), m.encode(SOURCE, SOURCE_MASK).memory, m.loss(*pair_variables())]
    made += [*layer(double)[:2], *layer(double, past=np.ones((1, 2, 2 * N)))[:2]]
    made += [*attention(double, keys_values=np.ones((3, 2, 2 * N)))]
    assert {v.dtype for v in made} == {"float32"}
    assert Positions(4)(3).dtype == "float64"


# --- bad input -----------------------------------------------------------------------------------


def test_options_that_do_not_fit_are_refused():
    rng = np.random.default_rng(1)

    def make(**options):
        return Transformer(5, 4, **({"n_features": 8, "n_heads": 2, "rng": rng} | options))

    for options, message in (
        ({"n_heads": 3}, "n_heads is 3 and n_features 8.*must divide"),
        ({"n_heads": 0}, "n_heads is 0, but must be a whole number"),
        ({"n_features": 7, "n_heads": 7}, "n_features is 7, but sines and cosines need an even"),
        ({"n_layers": 0}, "n_layers is 0, but must be a whole number"),
        ({"n_hidden": -1}, "must be a whole number, at least 1"),
        ({"n_hidden": 0}, "n_hidden is 0, but must be a whole number, at least 1"),
        ({"n_positions": True}, "n_learned is True, but must be a whole number"),
        ({"norm": "none"}, "norm is 'none', but must be one of 'pre', 'post'"),
        ({"activation": "tanh"}, "activation is 'tanh', but must be one of 'relu', 'gelu'"),
        ({"n_positions": 0}, "n_learned is 0, but must be a whole number"),
        ({"dropout": 1.0}, r"rate is 1.0, but must be in \[0, 1\)"),
    ):
        with pytest.raises(ValueError, match=message):
            make(**options)
    with pytest.raises(ValueError, match="activation is 'x'"):
        FeedForward(4, 4, rng=rng, activation="x")


def test_arrays_that_do_not_fit_are_refused():
    rng = np.random.default_rng(1)
    attention = MultiHeadAttention(N, 2, rng=rng)
    x = np.ones((3, 2, N))
    with pytest.raises(ValueError, match="x has 2 axes, but must have three"):
        attention(x[0])
    with pytest.raises(ValueError, match="memory has 2 axes"):
        attention(x, x[0])
    with pytest.raises(TypeError, match="dtype int64, but must be of a float"):
        attention(x.astype(int))
    with pytest.raises(ValueError, match="made for 4 features"):
        attention(np.ones((3, 2, 5)))
    with pytest.raises(ValueError, match=r"the mask has shape \(2, 2\)"):
        attention(x, mask=np.ones((2, 2)))
    with pytest.raises(ValueError, match=r"keys_values must have 8 features.*\(they have 4\)"):
        attention(x, keys_values=x)
    unknown = pt.tensor3("unknown")
    f = pytensor.function([unknown], attention(x, keys_values=unknown)[0], mode=QUICK)
    f(np.ones((5, 2, 2 * N)))
    with pytest.raises(ValueError, match="keys_values must have 8 features"):
        f(x)
    with pytest.raises(ValueError, match="memory and keys_values are the same thing"):
        attention(x, x, keys_values=np.ones((3, 2, 2 * N)))
    layer, decoder = (
        TransformerLayer(N, 2, 8, rng=rng, cross_attention=memory) for memory in (False, True)
    )
    with pytest.raises(ValueError, match="attends to no memory"):
        layer(x, memory=x)
    with pytest.raises(ValueError, match="was made with cross_attention=True and needs a memory"):
        decoder(x)
    with pytest.raises(ValueError, match="mask and past cannot be given together"):
        layer(x, mask=np.ones((3, 2)), past=x)


def test_tokens_that_do_not_fit_are_refused_when_called():
    m = Transformer(5, 4, 4, 2, rng=np.random.default_rng(1), n_layers=1, n_positions=4)
    loss = m.compile_loss(mode=QUICK)
    for source, target, message in (
        (SOURCE + 5, TARGET, "a token id is below 0, or not below n_tokens"),
        (SOURCE, TARGET + 5, "a token id is below 0|a target is below 0"),
        (SOURCE, TARGET * 0 + m.start, "a target is below 0, or not below the number of classes"),
    ):
        with pytest.raises(ValueError, match=message):
            loss(source, SOURCE_MASK, target, TARGET_MASK)
    with pytest.raises(ValueError, match="the mask's shape"):
        loss(SOURCE, SOURCE_MASK[1:], TARGET, TARGET_MASK)
    twice = np.concatenate([SOURCE, SOURCE])
    with pytest.raises(ValueError, match="longer than the 4 learned positions"):
        loss(twice, twice >= 0, TARGET, TARGET_MASK)
    with pytest.raises(ValueError, match=r"tokens have 1 axes, but must have two, \(time, batch\)"):
        m.encode(SOURCE[0], SOURCE_MASK[0])


FIT = "must have the same batch, none may be empty, and causal needs at least as many positions"


@pytest.fixture(scope="module")
def of_any_shape():
    """Attention of x to itself, to a memory, and to one with causal=True, as functions."""
    attention = MultiHeadAttention(N, 2, rng=np.random.default_rng(1))
    x, m = pt.tensor3("x"), pt.tensor3("m")
    return {
        "itself": pytensor.function([x], attention(x)[0], mode=QUICK),
        "memory": pytensor.function([x, m], attention(x, m)[0], mode=QUICK),
        "causal": pytensor.function([x, m], attention(x, m, causal=True)[0], mode=QUICK),
    }


@pytest.mark.parametrize(
    ("looks_at", "shapes"),
    [
        ("itself", [(0, 2, N)]),
        ("itself", [(3, 0, N)]),
        ("memory", [(3, 2, N), (4, 3, N)]),
        ("memory", [(3, 2, N), (4, 1, N)]),  # would be broadcast
        ("memory", [(3, 2, N), (0, 2, N)]),
        ("memory", [(0, 2, N), (4, 2, N)]),
        ("causal", [(3, 2, N), (2, 2, N)]),
    ],
)
def test_shapes_that_do_not_fit_are_refused(of_any_shape, looks_at, shapes):
    arrays = [np.ones(shape) for shape in shapes]
    with pytest.raises(ValueError, match=FIT):
        of_any_shape[looks_at](*arrays)
    attention = MultiHeadAttention(N, 2, rng=np.random.default_rng(1))
    with pytest.raises(ValueError, match=FIT):  # as constants, whose shapes are known
        attention(*arrays, causal=looks_at == "causal")[0].eval(mode=QUICK)


def test_a_past_that_does_not_fit_is_refused_and_one_without_steps_fits():
    layer = TransformerLayer(N, 2, 8, rng=np.random.default_rng(1))
    x, past = np.ones((3, 2, N)), pt.tensor3("past")
    f = pytensor.function([past], layer(x, causal=True, past=past)[0], mode=QUICK)
    alone = layer(x, causal=True)[0].eval(mode=QUICK)
    np.testing.assert_array_equal(f(np.ones((0, 2, 2 * N))), alone)
    for shape in ((1, 3, 2 * N), (1, 1, 2 * N), (1, 2, N)):
        with pytest.raises(ValueError, match="past does not fit x"):
            f(np.ones(shape))


def test_pairs_of_another_batch_and_empty_ones_are_refused_when_called():
    loss = Transformer(5, 4, 4, 2, rng=np.random.default_rng(1), n_layers=1).compile_loss()
    for places, sources, steps, targets in ((3, 2, 4, 3), (0, 2, 4, 2), (3, 2, 0, 2), (3, 0, 4, 0)):
        source, target = np.zeros((places, sources), int), np.zeros((steps, targets), int)
        with pytest.raises(ValueError, match=FIT):
            loss(source, source == 0, target, target == 0)


# --- positions have an end, modes, and which model goes with what ---------------------------------


@pytest.fixture(scope="module")
def of_six_positions():
    """A Translator and a TextGenerator, without a mode, whose models have six positions, no end."""
    both, vocabulary = PairVocabularies.build([("ab", "ba")]), Vocabulary("ab\n")
    rng, options = np.random.default_rng(1), {"n_layers": 1, "n_positions": 6}
    m = Transformer(len(both.source), len(both.target), 8, 2, rng=rng, **options)
    m.output.b.set_value(np.where(np.arange(len(both.target)) == both.target.eos, -99.0, 0))
    of_text = TransformerLM(3, 8, 2, rng=rng, **options)
    return Translator(m, both), TextGenerator(of_text, vocabulary, Characters())


def test_an_answer_is_cut_off_where_positions_end(of_six_positions):
    translator, _ = of_six_positions
    assert (translator.longest, translator.longest_source) == (6, 6)
    (answer,) = translator.translate(["ababab"])
    assert len(answer.tokens) == len(translator.beam_search("ab", width=2)[0].tokens) == 6
    assert translator.accuracy([("ab", "a")]) == 0
    for call in (translator.translate, lambda texts: translator.accuracy([(texts[0], "a")])):
        with pytest.raises(ValueError, match=r"7 tokens, but at most 6 .*with more positions"):
            call(["abababa"])
    both, shorter = translator.vocabularies, {"longest": 2, "longest_source": 3}
    cut = Translator(translator.model, both, **shorter)
    assert (cut.longest, cut.longest_source) == (2, 3)


def test_a_text_that_goes_beyond_the_positions_is_refused_before_it_is_written(of_six_positions):
    _, writer = of_six_positions
    assert len(writer.generate("ab", 4)) == 4  # start, a, b and three of the four are read
    assert len(writer.next_words("babab", 1)) == 1
    for call in (
        lambda: writer.stream("ab", 5),
        lambda: writer.beam_search("ab", 5, width=2),
        lambda: writer.next_words("ababab", 1),
    ):
        with pytest.raises(
            ValueError, match="too many for the model, which has learned 6 position"
        ):
            call()


def test_without_a_mode_nothing_is_compiled_by_numba(of_six_positions):
    translator, writer = of_six_positions
    made = [translator.encoder, translator.step, writer.next_token]
    assert all(f.maker.mode is QUICK for f in made)


def test_a_model_of_the_other_kind_is_told_where_it_goes(of_six_positions):
    translator, writer = of_six_positions
    with pytest.raises(TypeError, match=r"is a TransformerLM, but must .*symrnn\.TextGenerator"):
        Translator(writer.model, translator.vocabularies)
    with pytest.raises(TypeError, match=r"is a Transformer, but must .*symrnn\.Translator"):
        TextGenerator(translator.model, writer.vocabulary, Characters())
