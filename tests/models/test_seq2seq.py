import importlib.util
import json

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from conftest import FIXTURES
from scipy.special import softmax

from symrnn.compiling.function import function, graph_updates
from symrnn.compiling.modes import QUICK
from symrnn.interop import from_torch
from symrnn.models.seq2seq.encoder_decoder import pair_variables
from symrnn.models.seq2seq.model import Seq2Seq
from symrnn.nn.cells import ElmanCell, GRUCell, LSTMCell
from symrnn.training.optimizers import gradient_descent

FIXTURE = FIXTURES / "torch_seq2seq.json"
TORCH = json.loads(FIXTURE.read_text(encoding="utf-8"))
CELLS = {"lstm": LSTMCell, "gru": GRUCell, "elman": ElmanCell}


def batch_of_torch():
    stored = {name: np.array(value) for name, value in TORCH["batch"].items()}
    tokens = stored["source"], stored["target"]
    lengths = stored["source_lengths"], stored["target_lengths"]
    masks = [np.arange(len(t))[:, None] < n for t, n in zip(tokens, lengths, strict=True)]
    return tokens[0], masks[0], tokens[1], masks[1]


SOURCE, SOURCE_MASK, TARGET, TARGET_MASK = BATCH = batch_of_torch()


def name_of(options):
    words = (v if isinstance(v, str) else k for k, v in options.items() if k != "n_embed")
    return "-".join(words)


def like_torch(case, what):
    """A model whose weights are the case's weights, or its gradients."""
    options = case["options"] | {"cell": CELLS[case["options"]["cell"]]}
    m = Seq2Seq(**TORCH["sizes"], **options, rng=np.random.default_rng(1))
    given = {name: np.array(value) for name, value in case[what].items()}
    for part in ("encoder", "decoder"):
        for k, layer in enumerate(getattr(m, part).layers):
            prefix = f"{part}.{k}."
            names = [name for name in given if name.startswith(prefix)]
            from_torch([layer], {name.removeprefix(prefix): given.pop(name) for name in names})
    m.embed_source.W.set_value(given.pop("embed_source.weight"))
    m.embed_target.W.set_value(given.pop("embed_target.weight"))
    m.decoder.output.W.set_value(given.pop("output.weight").T)
    m.decoder.output.b.set_value(given.pop("output.bias"))
    for p in m.decoder.attention.params if m.has_attention else []:
        p.set_value(given.pop(p.name.removeprefix("decoder.")))
    assert not given
    return m


# Two LSTMs take most of the time, and what they have beside the others is tested in parts.
SLOW = ({"cell": "lstm", "n_layers": 2}, {"cell": "lstm", "context_to": "both"})


def cases():
    for case in TORCH["models"]:
        slow = any(case["options"].items() >= part.items() for part in SLOW)
        marks = [pytest.mark.slow] if slow else []
        yield pytest.param(case, id=name_of(case["options"]), marks=marks)


@pytest.fixture(scope="module", params=cases())
def variant(request):
    """A case of torch, the model with its weights, and its loss and gradients as a function."""
    m = like_torch(request.param, "weights")
    batch = pair_variables()
    loss = m.loss(*batch)
    gradients = pytensor.grad(loss, m.params)
    return request.param, m, pytensor.function([*batch], [loss, *gradients], mode=QUICK)


def test_loss_and_gradients_equal_torch(variant):
    case, m, call = variant
    loss, *gradients = call(*BATCH)
    assert loss == pytest.approx(case["loss"], abs=1e-9)
    expected = [p.get_value() for p in like_torch(case, "gradients").params]
    for p, got, of_torch in zip(m.params, gradients, expected, strict=True):
        assert np.abs(of_torch).max() > 1e-4, p.name
        np.testing.assert_allclose(got, of_torch, rtol=0, atol=1e-9, err_msg=p.name)


def test_mixed_lengths_give_the_weighted_mean_of_each_pair_alone(variant):
    _, m, call = variant
    together = call(*BATCH)
    mean = [np.zeros_like(value) for value in together]
    for b in range(SOURCE.shape[1]):
        s, t = SOURCE[SOURCE_MASK[:, b], b, None], TARGET[TARGET_MASK[:, b], b, None]
        for value, alone in zip(mean, call(s, s > -1, t, t > -1), strict=True):
            value += alone * (len(t) / TARGET_MASK.sum())
    for label, got, expected in zip(["loss", *m.params], together, mean, strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-10, err_msg=str(label))


def test_empty_sources_and_targets_are_named(variant):
    _, _, call = variant
    nothing = np.zeros((0, 2), int), np.zeros((0, 2), bool)
    with pytest.raises(ValueError, match=r"source .* is empty"):
        call(*nothing, TARGET[:, :2], TARGET_MASK[:, :2])
    with pytest.raises(ValueError, match=r"target .* is empty"):
        call(SOURCE[:, :2], SOURCE_MASK[:, :2], *nothing)


def test_what_padding_holds_changes_no_number(variant):
    _, _, call = variant
    source = np.where(SOURCE_MASK, SOURCE, (SOURCE + 2) % 5)
    target = np.where(TARGET_MASK, TARGET, (TARGET + 1) % 4)
    assert (source != SOURCE).any()
    assert (target != TARGET).any()
    for got, expected in zip(
        call(source, SOURCE_MASK, target, TARGET_MASK), call(*BATCH), strict=True
    ):
        np.testing.assert_array_equal(got, expected)


def test_single_steps_give_the_loss_of_the_whole(variant):
    _, m, call = variant
    encoded, step = m.compile_encoder(mode=QUICK)(SOURCE, SOURCE_MASK), m.compile_step(mode=QUICK)
    n_states = sum(len(c.State._fields) for c in m.decoder.layers)
    fixed, states = encoded[:-n_states], encoded[-n_states:]
    token, log_ps = np.full(SOURCE.shape[1], m.start), []
    for right in TARGET:
        log_p, *states = step(token, *fixed, *states)
        np.testing.assert_allclose(np.exp(log_p).sum(axis=1), 1, rtol=1e-12)
        if m.has_attention:
            weights, *states = states
            np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-12)
            assert weights.shape == SOURCE.T.shape
            assert (weights[~SOURCE_MASK.T] == 0).all()
            assert (weights[SOURCE_MASK.T] > 0).all()
        log_ps.append(log_p[np.arange(len(right)), right])
        token = right
    assert -np.mean(np.array(log_ps)[TARGET_MASK]) == pytest.approx(call(*BATCH)[0], rel=1e-12)


@pytest.mark.slow
def test_torch_itself_still_gives_the_fixture():
    pytest.importorskip("torch")
    spec = importlib.util.spec_from_file_location("script", FIXTURE.with_suffix(".py"))
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    live = script.everything()
    assert live["batch"] == TORCH["batch"]
    for case, stored in zip(live["models"], TORCH["models"], strict=True):
        assert (case["options"], case["weights"]) == (stored["options"], stored["weights"])
        assert case["loss"] == pytest.approx(stored["loss"], rel=1e-12)
        for name, gradient in stored["gradients"].items():
            np.testing.assert_allclose(case["gradients"][name], gradient, rtol=0, atol=1e-12)
    for case, stored in zip(live["attention"], TORCH["attention"], strict=True):
        for name in stored.keys() - {"scale"}:
            np.testing.assert_allclose(case[name], stored[name], rtol=0, atol=1e-12)


def by_name(m):
    return {p.name: p for p in m.params}


def randomized(m, seed=3):
    for p in m.params:  # biases too
        p.set_value(np.random.default_rng(seed).normal(0, 0.5, p.get_value().shape))
    return m


N = 4  # tokens of the targets, and units, below


@pytest.fixture(scope="module")
def sampling():
    """A model that samples its inputs, their probability, and its logits with and without."""
    m = Seq2Seq(5, N, N + 1, N + 1, rng=np.random.default_rng(1), cell=ElmanCell)
    p, batch = pytensor.shared(0.0), pair_variables()
    encoded = m.encode(*batch[:2])
    logits = m.logits(encoded, batch[2], sampling_probability=p)
    plain = m.logits(encoded, batch[2])
    call = function([*batch], [logits, plain], on_unused_input="ignore")
    return m, p, call


def is_a_table(m):
    """Set weights so that the logits depend on the last token alone; return them, a row a token."""
    w = by_name(m)
    table = np.random.default_rng(5).normal(size=(N + 1, N))
    for p in (w["decoder.layers.0.W_h"], w["decoder.layers.0.b"], w["decoder.output.b"]):
        p.set_value(np.zeros_like(p.get_value()))
    w["embed_target.W"].set_value(np.eye(N + 1))
    w["decoder.layers.0.W_x"].set_value(np.eye(N + 1))
    w["decoder.output.W"].set_value(table / np.tanh(1))
    return table


def test_a_sampling_probability_of_zero_is_training_with_the_right_tokens(sampling):
    m, p, call = sampling
    randomized(m)
    p.set_value(0.0)
    logits, plain = call(*BATCH)
    np.testing.assert_allclose(logits, plain, rtol=0, atol=1e-13)
    p.set_value(1.0)
    logits, _ = call(*BATCH)
    np.testing.assert_allclose(logits[0], plain[0], rtol=0, atol=1e-13)
    assert (np.abs(logits - plain).max(axis=(1, 2)) > 1e-3).tolist() == [False, True, True]


def test_with_a_sampling_probability_of_one_the_decoder_follows_its_own_tokens(sampling):
    m, p, call = sampling
    is_a_table(m)
    follows = np.array([2, 3, 1, 0, 1])  # of tokens 0 to 3, and of the start token, 4
    m.decoder.output.W.set_value(100 * np.eye(N)[follows] / np.tanh(1))  # far above all noise
    target = np.array([[0, 1, 2, 3]] * 6)
    batch = np.zeros((1, 4), dtype=int), np.ones((1, 4), dtype=bool), target, target > -1
    p.set_value(1.0)
    chain = [1, 3, 0, 2, 1, 3]
    logits, plain = call(*batch)
    assert (chain == logits.argmax(axis=2).T).all()
    said = plain.argmax(axis=2)
    assert (said[0] == follows[m.start]).all()
    assert (said[1:] == follows[target[:-1]]).all()
    p.set_value(0.0)  # from one call to the next
    np.testing.assert_array_equal(call(*batch)[0], plain)


def test_sampled_tokens_are_draws_from_the_softmax_new_at_each_call(sampling):
    m, probability, call = sampling
    table, n = is_a_table(m), 4000
    target = np.zeros((3, n), dtype=int)
    batch = np.zeros((1, n), dtype=int), np.ones((1, n), dtype=bool), target, target > -1

    def given():
        """Which tokens the decoder was given: the table has them by their logits."""
        logits, _ = call(*batch)
        distance = np.abs(logits[:, :, None] - table).max(axis=3)
        assert distance.min(axis=2).max() < 1e-12
        return distance.argmin(axis=2)

    probability.set_value(1.0)
    first = given()
    assert (first[0] == m.start).all()
    p = softmax(table[:N], axis=1)
    p_start = softmax(table[m.start])
    sigma = 0.5 / np.sqrt(n)
    frequencies = np.bincount(first[1], minlength=N) / n
    np.testing.assert_allclose(frequencies, p_start, rtol=0, atol=4 * sigma)
    frequencies = np.bincount(first[2], minlength=N) / n
    np.testing.assert_allclose(frequencies, p_start @ p, rtol=0, atol=4 * sigma)
    assert (given() != first).any()
    probability.set_value(0.25)
    mixed = given()
    assert (mixed[0] == m.start).all()
    for t in (1, 2):  # token 0 is given, if the model does not say another one itself
        before = p_start if t == 1 else softmax(table[mixed[1]], axis=1).mean(axis=0)
        expected = 0.25 * before + 0.75 * np.eye(N)[0]
        frequencies = np.bincount(mixed[t], minlength=N) / n
        np.testing.assert_allclose(frequencies, expected, rtol=0, atol=4 * sigma)


@pytest.mark.parametrize("loop", [False, True])
def test_dropout_is_everywhere_and_new_at_each_step_and_call(loop):
    options = {"attention": "dot", "context_to": "input"} if loop else {}
    m = Seq2Seq(N, N, N, N, rng=np.random.default_rng(1), n_layers=2, cell=ElmanCell, dropout=0.5,
                **options)  # fmt: skip
    w = by_name(m)
    for p in m.params:  # each unit is given its own feature alone, the same for all tokens
        value = np.zeros(p.get_value().shape)
        if p.name.endswith("W_x") or p.name == "decoder.output.W":
            value[:N] = np.eye(N)
        p.set_value(value)
    for p in (
        w["embed_source.W"],
        w["embed_target.W"],
        w["encoder.layers.1.b"],
        w["decoder.layers.1.b"],
    ):
        p.set_value(np.ones(p.get_value().shape))
    tokens = np.zeros((60, 20), dtype=int)
    encoded = m.encode(pt.constant(tokens), pt.constant(tokens == 0), training=True)
    logits = m.logits(
        encoded, pt.constant(tokens), training=True, sampling_probability=0.5 if loop else None
    )
    draw = function([], [encoded.memory, logits])
    first, second = draw(), draw()
    of_embedding = np.tanh(2)  # 1 / (1 - rate) is 2, and 0 if dropped
    values = [np.tanh(1), np.tanh(1 + 2 * of_embedding)]  # h of the second layer
    chances = [0.75, 0.25]  # for the latter embedding and first layer both stay
    for name, outputs, again, possible, chance in (
        ("memory", first[0], second[0], values, chances),
        ("logits", first[1], second[1], [0, 2 * values[0], 2 * values[1]], [0.5, 0.375, 0.125]),
    ):
        distance = np.abs(outputs[..., None] - possible)
        assert distance.min(axis=-1).max() < 1e-12, name
        which = distance.argmin(axis=-1)
        shares = np.bincount(which.ravel(), minlength=len(possible)) / which.size
        np.testing.assert_allclose(shares, chance, rtol=0, atol=0.035, err_msg=name)
        assert (outputs[1:] != outputs[:-1]).any(axis=(1, 2)).all(), name
        assert (outputs != again).any(), name


def test_nothing_is_dropped_at_inference_and_a_rate_of_zero_draws_nothing():
    whole, thinned = (
        randomized(Seq2Seq(5, N, 3, N, rng=np.random.default_rng(1), cell=ElmanCell, dropout=rate))
        for rate in (0.0, 0.5)
    )
    assert not graph_updates(whole.loss(*pair_variables(), training=True))
    assert graph_updates(thinned.loss(*pair_variables(), training=True))
    before = [p.get_value() for p in thinned.params]
    step = thinned.compile_training(lambda loss, p: gradient_descent(loss, p, 1e-12), mode=QUICK)
    losses = [thinned.compile_loss(mode=QUICK)(*BATCH), *(step(*BATCH) for _ in range(2))]
    assert losses[0] == pytest.approx(whole.compile_loss(mode=QUICK)(*BATCH), rel=1e-14)
    assert np.abs(np.diff(losses)).min() > 1e-3
    for p, was in zip(thinned.params, before, strict=True):
        assert (p.get_value() != was).any(), p.name


def test_all_weights_have_names_of_their_own():
    for options in ({"n_layers": 2, "bidirectional": True}, {"attention": "additive"}):
        names = [
            p.name for p in Seq2Seq(5, N, 3, N, rng=np.random.default_rng(1), **options).params
        ]
        assert len(set(names)) == len(names)  # a checkpoint wants that


def test_all_is_in_the_dtype_of_the_weights():
    with pytensor.config.change_flags(floatX="float32"):
        m = Seq2Seq(5, N, 3, N, rng=np.random.default_rng(1), cell=ElmanCell, dropout=0.5,
                    attention="scaled", context_to="input")  # fmt: skip
        loss = m.loss(*pair_variables(), training=True, sampling_probability=0.5)
    assert loss.dtype == "float32"


def test_options_that_do_not_fit_are_refused():
    def make(**options):
        return Seq2Seq(5, N, 3, **({"n_hidden": 4, "rng": np.random.default_rng(1)} | options))

    for options, message in (
        ({"n_layers": 0}, "n_layers is 0, but must be a whole number"),
        ({"n_hidden": 0}, "n_hidden is 0, but must be a whole number"),
        (
            {"context_to": "all"},
            "context_to is 'all', but must be one of 'output', 'input', 'both'",
        ),
        ({"context_to": "input"}, "context_to is 'input', but there is no attention"),
        ({"attention": "cosine"}, "score is 'cosine', but must be one of 'dot'"),
        ({"bidirectional": True, "reverse": True}, "leave out reverse"),
        ({"n_layers": 1.5}, "n_layers is 1.5, but must be a whole number"),
        ({"bidirectional": True, "n_hidden": 5}, "n_hidden is 5, but must be even"),
        ({"dropout": 1.0}, r"rate is 1.0, but must be in \[0, 1\)"),
    ):
        with pytest.raises(ValueError, match=message):
            make(**options)
    with pytest.raises(
        ValueError, match=r"sampling_probability is 1.5, but must be within \[0, 1\]"
    ):
        make(cell=ElmanCell).loss(*BATCH, sampling_probability=1.5)


def test_tokens_out_of_range_are_refused_when_called(sampling):
    m, _, _ = sampling
    loss, step = m.compile_loss(mode=QUICK), m.compile_step(mode=QUICK)
    for source, target, message in (
        (SOURCE + 5, TARGET, "a token id is below 0, or not below n_tokens"),
        (SOURCE - 5, TARGET, "a token id is below 0, or not below n_tokens"),
        (SOURCE, TARGET + 5, "a token id is below 0|a target is below 0"),
        (SOURCE, TARGET * 0 + m.start, "a target is below 0, or not below the number of classes"),
    ):
        with pytest.raises(ValueError, match=message):
            loss(source, SOURCE_MASK, target, TARGET_MASK)
    states = np.zeros((3, N + 1))
    step([m.start] * 3, states)
    with pytest.raises(ValueError, match="a token id is below 0, or not below n_tokens"):
        step([m.start + 1] * 3, states)
    with pytest.raises(ValueError, match="the mask's shape"):
        loss(SOURCE, SOURCE_MASK[1:], TARGET, TARGET_MASK)
    with pytest.raises(ValueError, match="the mask's shape"):
        loss(SOURCE, SOURCE_MASK, TARGET, TARGET_MASK[1:])
