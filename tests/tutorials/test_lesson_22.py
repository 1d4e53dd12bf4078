"""Lesson 22: what it shows of attention; slow: a Transformer that adds."""

import numpy as np
import pytensor
import pytest
from conftest import load_lesson

lesson = load_lesson("22")


def test_weights_are_means_and_a_causal_mask_leaves_the_past(quick):
    everything, causal = (quick[0]["weights"][name] for name in ("all", "causal"))
    for weights in (everything, causal):
        assert weights.shape == (2, 4, 4)  # heads, steps, positions
        np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-13)
    assert (np.triu(causal, 1) == 0).all()
    past = np.tril(everything)
    np.testing.assert_allclose(causal, past / past.sum(axis=-1, keepdims=True), rtol=1e-12)


def test_order_is_seen_by_positions_alone_and_the_future_not_at_all(quick):
    without, with_positions, before, after = quick[0]["differences"].values()
    assert without < 1e-13
    assert with_positions > 0.01
    assert before == 0
    assert after > 0.01


def test_the_state_of_an_lstm_is_constant_and_that_of_a_transformer_grows(quick):
    lstm, transformer = (quick[0]["costs"][name][:, 0] for name in lesson.NETS)
    n, m = lesson.SMALL.n_units
    np.testing.assert_array_equal(lstm, [2 * n, 2 * n])
    np.testing.assert_array_equal(transformer, [2 * m * 8, 2 * m * 16])


def test_figures_and_the_table_are_made(quick):
    found, printed, folder = quick
    assert {p.name for p in folder.glob("22_*.png")} == {"22_positions.png", "22_comparison.png"}
    for task, of_nets in found["runs"].items():
        assert list(of_nets) == ["LSTM", "Transformer"]
        for name, run in of_nets.items():
            assert f"{task:<12}{name:<12}{run.n_weights:>9,}" in printed
    assert f"entropy of the characters: {found['floor']:.4f}" in printed


def test_the_entropy_of_characters_is_that_of_a_text_which_is_counted():
    grammar = lesson.english()
    ids = grammar.sample(100_000, rng=np.random.default_rng(1))
    text = lesson.as_characters(grammar, np.random.default_rng(1), 100_000)
    nats = -grammar.log_probabilities(ids).sum() / len(text)
    assert nats == pytest.approx(lesson.entropy_of_characters(grammar), rel=0.01)


def test_losses_by_position_are_minus_log_p():
    rng = np.random.default_rng(1)
    z = rng.normal(size=(8, 100, 5)) * 50
    tokens = rng.integers(5, size=300)
    losses = lesson.losses_by_position(lambda x: z, tokens, 8, 1)
    _, t = lesson.windows(tokens, n_samples=100, n_steps=8, rng=np.random.default_rng(1))
    one = z[3] - np.logaddexp.reduce(z[3], axis=1, keepdims=True)
    assert losses[3] == pytest.approx(-one[np.arange(100), t[3]].mean(), rel=1e-12)


@pytest.mark.slow
def test_a_transformer_has_99_per_cent_of_5000_unseen_sums_right_after_two_epochs(capsys):
    plan = lesson.PLANS["addition"]
    plan = plan._replace(epochs=lesson.FULL_EPOCHS["addition"])
    data = lesson.decimal_addition(plan.n_train, plan.n_test, rng=np.random.default_rng(1))
    with pytensor.config.change_flags(floatX="float32"):
        run = lesson.pair_run("Transformer", data, plan, {}, 1, None)
    assert len(data[1]) == 5000
    assert run.final >= 0.99
