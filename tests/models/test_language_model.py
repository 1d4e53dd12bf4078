import importlib.util
import json

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from conftest import FIXTURES
from pytensor.gradient import verify_grad
from pytensor.graph.replace import clone_replace
from pytensor.scan.op import Scan

from symrnn import text
from symrnn.compiling.function import function
from symrnn.compiling.modes import QUICK
from symrnn.interop import from_torch, to_torch
from symrnn.models.language.model import LanguageModel, mean_loss
from symrnn.nn.cells import CELLS, ElmanCell, GRUCell, LSTMCell
from symrnn.tasks.english_grammar import english
from symrnn.training.optimizers import adam, gradient_descent

FIXTURE = FIXTURES / "torch_language_model.json"
TORCH = json.loads(FIXTURE.read_text(encoding="utf-8"))
V, T, B = 7, 6, 3
X = np.random.default_rng(0).integers(V, size=(T + 1, B))


def sgd(loss, params):
    return gradient_descent(loss, params, 0.5)


def model(**options):
    settings = {"n_embed": 4, "n_hidden": 5, "rng": np.random.default_rng(1)} | options
    made = LanguageModel(V, **settings)
    for p in made.params:  # biases too
        p.set_value(np.random.default_rng(2).normal(0, 0.5, p.get_value().shape).astype(p.dtype))
    return made


def by_hand(m, tokens):
    """-log p of each next token, of an Elman model, number by number."""
    E, *weights = (p.get_value() for p in m.params)
    layers, out = [weights[i : i + 3] for i in range(0, 3 * len(m.cells), 3)], weights[-2:]
    losses = np.zeros((T, B))
    for b in range(B):
        h = [np.zeros(len(W_h)) for _, W_h, _ in layers]
        for t in range(T):
            below = E[tokens[t, b]]
            for k, (W_x, W_h, bias) in enumerate(layers):
                below = h[k] = np.tanh(below @ W_x + h[k] @ W_h + bias)
            z = below @ E.T + weights[-1] if m.tied else below @ out[0] + out[1]
            losses[t, b] = np.log(np.exp(z).sum()) - z[tokens[t + 1, b]]
    return losses


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("n_layers", [1, 2])
def test_the_loss_equals_a_plain_computation(tied, n_layers):
    m = model(cell=ElmanCell, n_layers=n_layers, tied=tied, n_hidden=4 if tied else 5)
    evaluate = m.compile_evaluation(m.carry(B), mode=QUICK)
    assert evaluate(X[:-1], X[1:]) == pytest.approx(by_hand(m, X).mean(), rel=1e-12)


@pytest.mark.parametrize("tied", [False, True])
def test_gradients_pass_verify_grad(tied):
    m = model(cell=LSTMCell, tied=tied, n_hidden=4)
    (x, t), loss, _ = m.loss(m.carry(B), training=False)

    def of(*values):
        new = dict(zip(m.params, values, strict=True))
        new |= {x: pt.constant(X[:-1]), t: pt.constant(X[1:])}
        return clone_replace(loss, new, rebuild_strict=False)

    values = [p.get_value() for p in m.params]
    verify_grad(of, values, rng=np.random.default_rng(3), mode=QUICK, no_debug_ref=False)


def like_torch(case):
    """The model with a case's weights."""
    m = LanguageModel(
        **TORCH["sizes"],
        n_hidden=case["n_hidden"],
        rng=np.random.default_rng(1),
        cell=CELLS[case["cell"]],
        tied=case["tied"],
    )
    weights = {name: np.array(w) for name, w in case["weights"].items()}
    names = [name for name in weights if name.startswith("recurrent.")]
    from_torch(m.cells, {name.removeprefix("recurrent."): weights[name] for name in names})
    m.embedding.W.set_value(weights["embedding.weight"])
    if case["tied"]:
        m.b.set_value(weights["output.bias"])
    else:
        m.output.W.set_value(weights["output.weight"].T)
        m.output.b.set_value(weights["output.bias"])
    return m


@pytest.mark.parametrize("case", TORCH["cases"], ids=lambda c: f"{c['cell']}-tied-{c['tied']}")
def test_loss_and_gradients_equal_torch(case):
    m, tokens = like_torch(case), np.array(case["tokens"])
    inputs, loss, _ = m.loss(m.carry(tokens.shape[1]), training=False)
    compiled = pytensor.function(inputs, [loss, *pytensor.grad(loss, m.params)], mode=QUICK)
    got_loss, *gradients = compiled(tokens[:-1], tokens[1:])
    assert got_loss == pytest.approx(case["loss"], abs=1e-9)
    for p, gradient in zip(m.params, gradients, strict=True):
        p.set_value(gradient)  # so that each gradient can be read as torch names its weights
    ours = {f"recurrent.{name}": value for name, value in to_torch(m.cells).items()}
    ours["embedding.weight"] = m.embedding.W.get_value()
    ours["output.bias"] = m.b.get_value() if case["tied"] else m.output.b.get_value()
    if not case["tied"]:
        ours["output.weight"] = m.output.W.get_value().T
    assert ours.keys() == case["gradients"].keys()
    for name, expected in case["gradients"].items():
        if "bias_hh" in name:  # torch's second bias; we have it for a GRU's n alone
            n = len(m.cells[0].W_h.get_value()) if case["cell"] == "gru" else 0
            ours[name], expected = ours[name][-n:] if n else [], expected[-n:] if n else []
        np.testing.assert_allclose(ours[name], expected, rtol=0, atol=1e-9, err_msg=name)


@pytest.mark.slow
def test_torch_itself_still_gives_the_fixture():
    pytest.importorskip("torch")
    spec = importlib.util.spec_from_file_location("script", FIXTURE.with_suffix(".py"))
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    for live, stored in zip(script.everything()["cases"], TORCH["cases"], strict=True):
        assert live["loss"] == pytest.approx(stored["loss"], rel=1e-12)
        for name, gradient in stored["gradients"].items():
            np.testing.assert_allclose(live["gradients"][name], gradient, rtol=0, atol=1e-12)


def test_a_text_in_segments_has_the_losses_of_the_whole_until_the_state_is_reset():
    m = model(n_layers=2, cell=GRUCell)
    whole = m.compile_evaluation(m.carry(B), mode=QUICK)(X[:-1], X[1:])
    segments = m.compile_evaluation(m.carry(B), mode=QUICK)
    batches = [(X[a:b], X[a + 1 : b + 1]) for a, b in ((0, 2), (2, 3), (3, 6))]
    assert mean_loss(segments, batches) == pytest.approx(float(whole), rel=1e-12)
    carried = m.carry(B)
    step = m.compile_training(sgd, carried, mode=QUICK)
    first = step(X[:2], X[1:3])
    assert first == pytest.approx(by_next(model(n_layers=2, cell=GRUCell), n=2), rel=1e-12)
    assert any(np.abs(s.get_value()).max() > 0 for c in carried for s in c.state)
    for c in carried:
        c.reset()
    assert all((s.get_value() == 0).all() for c in carried for s in c.state)


def by_next(m_start, n):
    """The mean loss of the first n steps, from single steps with the state carried by hand."""
    step, state, losses = m_start.compile_next(mode=QUICK), m_start.zeros(B), []
    for t in range(n):
        log_p, *state = step(X[t], *state)
        np.testing.assert_allclose(np.exp(log_p).sum(axis=1), 1, rtol=1e-12)
        losses.append(-log_p[np.arange(B), X[t + 1]])
    return np.mean(losses)


@pytest.mark.parametrize("cell", [ElmanCell, GRUCell, LSTMCell])
def test_single_steps_give_the_probabilities_of_the_whole(cell):
    m = model(cell=cell, n_layers=2, dropout=0.5)  # no dropout at inference
    whole = m.compile_evaluation(m.carry(B), mode=QUICK)(X[:-1], X[1:])
    assert by_next(m, T) == pytest.approx(float(whole), rel=1e-12)


def test_a_single_step_is_no_loop_and_safe_for_large_logits():
    m = model(n_layers=2)
    m.params[-1].set_value(np.linspace(0, 1e4, V))
    step = m.compile_next(mode=QUICK)
    assert not [n for n in step.maker.fgraph.apply_nodes if isinstance(n.op, Scan)]
    log_p, *_ = step(X[0], *m.zeros(B))
    np.testing.assert_allclose(log_p, np.tile(np.linspace(-1e4, 0, V), (B, 1)), atol=10)


def test_a_single_step_has_the_dtype_of_the_weights():
    with pytensor.config.change_flags(floatX="float32"):
        m = model(cell=GRUCell)
    log_p, h = m.compile_next(mode=QUICK)(X[0], *m.zeros(B))
    assert (log_p.dtype, h.dtype) == ("float32", "float32")


@pytest.mark.parametrize("variational", [False, True])
def test_dropout_is_new_at_each_call_and_the_same_at_all_steps_if_variational(variational):
    m = model(
        dropout=0.5,
        variational=variational,
        cell=lambda n_in, n_hidden, *, rng: ElmanCell(n_in, n_hidden, rng=rng),
    )
    m.cells[0].W_x.set_value(np.eye(4, 5) * 0)  # h is constant: what varies is the mask
    m.cells[0].W_h.set_value(np.zeros((5, 5)))
    z, _ = m.logits(pt.constant(X), training=True)
    draw = function([], z)
    first, second = draw(), draw()
    assert (first != second).any()
    assert (first == first[0]).all() == variational


def test_variational_dropout_keeps_its_mask_along_time_and_carries_the_state_without_it():
    m = model(dropout=0.5, variational=True, cell=ElmanCell)
    carried = m.carry(B)
    h_0 = np.random.default_rng(4).normal(size=(B, 5))
    carried[0].state.h.set_value(h_0)
    x = pt.constant(X[:-1])
    z, (final,) = m.logits(x, initial_state=[c.state for c in carried], training=True)
    draw = function([], [z, final.h])
    E, W_x, W_h, b, W, b_out = (p.get_value() for p in m.params)
    found = 0
    z_drawn, h_final = draw()
    for b_i in range(B):  # which of the 2^9 masks gives these numbers?
        for bits in range(2**9):
            kept = np.array([bits >> k & 1 for k in range(9)]) * 2.0
            m_e, m_h = kept[:4], kept[4:]
            h, rows = h_0[b_i], []
            for t in range(T):
                h = np.tanh((m_e * E[X[t, b_i]]) @ W_x + (m_h * h) @ W_h + b)
                rows.append((m_h * h) @ W + b_out)
            if np.allclose(rows, z_drawn[:, b_i], atol=1e-10):
                found += 1
                np.testing.assert_allclose(h_final[b_i], h, rtol=1e-10)
                break
    assert found == B


def test_two_trainings_can_be_compiled_of_one_model_with_dropout():
    m = model(dropout=0.5)
    first = m.compile_training(sgd, m.carry(B), mode=QUICK)
    second = m.compile_training(sgd, m.carry(2), mode=QUICK)
    before = [p.get_value() for p in m.params]
    assert np.isfinite(first(X[:-1], X[1:]))
    assert np.isfinite(second(X[:-1, :2], X[1:, :2]))
    assert all((p.get_value() != b).any() for p, b in zip(m.params, before, strict=True))


def test_tied_weights_are_those_of_the_embedding():
    tied, apart = model(tied=True, n_hidden=4), model(n_hidden=4)
    assert [p.name for p in tied.params][-1] == "b"
    assert len(apart.params) == len(tied.params) + 1
    names = [p.name for p in apart.params]
    assert len(set(names)) == len(names)  # a checkpoint wants unique names


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"n_hidden is 5 and n_embed 4.*tied"):
        model(tied=True)
    with pytest.raises(ValueError, match="n_layers is 0"):
        model(n_layers=0)
    with pytest.raises(ValueError, match="no batch to evaluate"):
        mean_loss(None, [])


@pytest.mark.slow
def test_an_lstm_comes_within_two_percent_of_the_grammars_entropy_and_beats_bigrams():
    grammar, rng = english(), np.random.default_rng(1)
    train_ids, valid_ids = grammar.sample(200_000, rng=rng), grammar.sample(50_000, rng=rng)
    with pytensor.config.change_flags(floatX="float32"):
        m = LanguageModel(len(grammar.words), 32, 64, rng=rng)
        rate = pytensor.shared(np.float32(0.01))
        step = m.compile_training(lambda loss, p: adam(loss, p, rate), m.carry(32), mode="NUMBA")
        carried = m.carry(32)
        evaluate = m.compile_evaluation(carried, mode="NUMBA")
        for epoch in range(4):
            rate.set_value(np.float32(0.01 * 0.4**epoch))
            for x, t in text.streams(train_ids, batch_size=32, n_steps=32):
                step(x, t)
        perplexity = np.exp(mean_loss(evaluate, text.streams(valid_ids, batch_size=32, n_steps=32)))
    print(f"perplexity {perplexity:.3f}, best possible {grammar.perplexity:.3f}")
    assert perplexity < 1.02 * grammar.perplexity
    assert perplexity < np.exp(grammar.bigram_entropy)
