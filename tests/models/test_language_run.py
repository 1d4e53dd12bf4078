"""A training of a language model: wherever it is stopped, it resumes with the same bits."""

import os
import signal

import numpy as np
import pytensor
import pytest

from symrnn.models.language.run import LanguageRun
from symrnn.models.language.settings import LanguageSettings
from symrnn.text import Characters, Vocabulary, Words, encode_files, streams
from symrnn.training import checkpoint
from symrnn.training.checkpoint import CheckpointError
from symrnn.training.loop import NonFiniteLossError

rng = np.random.default_rng(1)
TEXT = "".join(rng.choice(list("abcde "), size=600))
VOCABULARY = Vocabulary.build(TEXT, specials=())


def make(**options):
    settings = {
        "n_embed": 3, "n_hidden": 4, "batch_size": 2, "n_steps": 10, "epochs": 3,
        "learning_rate": 0.05, "validate_every": 8, "dropout": 0.3,
    }  # fmt: skip
    return LanguageRun(LanguageSettings(**settings | options), Characters(), VOCABULARY)


def texts(run):
    return run.split(VOCABULARY.encode(TEXT))


def bits(run):
    """All that training changes, bit for bit, and all that was written down but for the time."""
    values = [v.get_value() for v in run.changing]
    states = [getattr(v, "bit_generator", None) for v in values]
    losses = [{k: v for k, v in entry.items() if k != "seconds"} for entry in run.losses]
    return (
        [str(s.state) if s else v.tobytes() for s, v in zip(states, values, strict=True)],
        losses, run.stopping.state(), run.plateau.state(), run.stopped, run._loss_sum,
    )  # fmt: skip


def stop_at(n):
    """Press Ctrl-C in step n."""
    count = [0]

    def press(loss):
        count[0] += 1
        if count[0] == n:
            os.kill(os.getpid(), signal.SIGINT)

    return press


KINDS = {
    "plateau": {
        "schedule": "plateau",
        "optimizer": "rmsprop",
        "learning_rate": 0.5,
        "patience": 6,
        "reset": 0,
    },
    "linear": {
        "schedule": "linear",
        "variational": True,
        "n_layers": 2,
        "cell": "gru",
        "reset": 0.3,
        "epochs": 2.5,
    },
}


@pytest.fixture(scope="module", params=["plateau", pytest.param("linear", marks=pytest.mark.slow)])
def two(request, tmp_path_factory):
    """A run that was never stopped, and another one; a file with the start of both."""
    start = tmp_path_factory.mktemp("start") / "model"
    expected, run = make(**KINDS[request.param]), make(**KINDS[request.param])
    for which in (expected, run):
        with pytest.raises(StopError):
            which.train(*texts(which), path=start, each_step=stop)
    expected.restore(checkpoint.load(start))
    expected.train(*texts(expected))
    return request.param, expected, run, start, bits(expected)


class StopError(Exception):
    pass


def stop(loss):
    raise StopError


def go_back(run, path):
    run.restore(checkpoint.load(path))


def test_the_undisturbed_run_has_what_a_resumption_could_lose(two):
    kind, run, *_ = two
    steps = [int(entry["step"]) for entry in run.losses]
    rates = [entry["learning_rate"] for entry in run.losses]
    assert run.n_batches(*texts(run)) == 27
    due = [7, 14, 21, 27, 34, 41, 48, 54, 61, 68, 75, 81]  # at most 8 steps apart
    if kind == "linear":
        assert steps == due[:10]
        falling = [0.05 * min(1, (68 - (step - 1)) / 34) for step in steps]
        np.testing.assert_allclose(rates, falling, rtol=1e-12)
    else:  # the rate falls, and early stopping ends it within an epoch
        assert steps == due[: len(steps)]
        assert run.stopped
        assert 54 < run.n_done < 81
        assert len(set(rates)) >= 3


CHEAP = [1, 7, 27, 41]  # a validation is after 7 and 41, an epoch ends after 27


@pytest.mark.parametrize(
    "stop",
    [*CHEAP, *(pytest.param(n, marks=pytest.mark.slow) for n in range(2, 56, 4))],
)
def test_a_run_stopped_at_any_step_resumes_bit_for_bit(two, tmp_path, stop):
    _, other, run, start, expected = two
    path = tmp_path / "model"
    go_back(run, start)
    assert run.train(*texts(run), path=path, each_step=stop_at(stop)).interrupted
    resumed = other
    go_back(resumed, path)
    assert resumed.n_done == stop
    resumed.train(*texts(resumed), path=path)
    assert bits(resumed) == expected
    go_back(run, path)
    assert run.train(*texts(run)).loss == []  # it has ended


def test_a_run_that_is_stopped_again_and_again_and_saves_at_each_step_loses_nothing(two, tmp_path):
    _, other, run, start, expected = two
    path, n_starts, finished = start, 0, False
    while not finished:
        run, other = other, run
        go_back(run, path)
        path = tmp_path / "model"
        run.train(*texts(run), path=path, save_every=0, each_step=stop_at(13))
        n_starts, finished = n_starts + 1, run.stopped or run.n_done == 68
    assert n_starts >= 5
    assert bits(run) == expected


def test_a_file_is_never_of_the_moment_between_a_step_and_its_validation(two, tmp_path):
    _, _, run, start, _ = two
    seen = []

    def look(loss):
        saved = checkpoint.load(tmp_path / "model")
        seen.append((int(saved.arrays["step"]), len(saved.data["losses"])))

    go_back(run, start)
    run.train(*texts(run), path=tmp_path / "model", save_every=0, each_step=look)
    for done, n_validations in seen:
        assert n_validations == sum(1 for entry in run.losses if entry["step"] <= done)
    assert [done for done, _ in seen] == list(range(run.n_done))


def test_training_needs_no_file_and_ends_when_the_time_is_up(two):
    _, _, run, start, expected = two
    go_back(run, start)
    for n in range(run.n_done, 9):
        assert run.n_done == n
        history = run.train(*texts(run), minutes=0)
        assert (len(history.loss), history.interrupted) == (1, False)
    run.train(*texts(run))
    assert bits(run) == expected


def test_a_memory_mapped_corpus_trains_like_one_in_memory(two, tmp_path):
    _, _, run, start, expected = two
    (tmp_path / "a.txt").write_text(TEXT)
    tokens = encode_files(tmp_path / "a.txt", Characters(), VOCABULARY, cache=tmp_path)
    assert isinstance(tokens, np.memmap)
    go_back(run, start)
    run.train(*run.split(tokens))
    assert bits(run) == expected


def test_a_new_process_would_find_all_it_needs_in_the_file(two, tmp_path):
    kind, _, run, start, expected = two
    go_back(run, start)
    run.train(*texts(run), path=tmp_path / "model", each_step=stop_at(30))
    resumed = LanguageRun.load(tmp_path / "model")
    assert (resumed.n_done, resumed.settings) == (30, make(**KINDS[kind]).settings)
    resumed.train(*texts(resumed))
    assert bits(resumed) == expected


def test_losses_are_those_of_the_model_and_the_best_weights_are_kept(two, tmp_path):
    kind, _, run, start, _ = two
    path = tmp_path / "model"
    go_back(run, start)
    training, validation = texts(run)
    losses, at_best = [], []

    def keep(entry):
        if entry["validation"] == run.stopping.best_loss:
            at_best[:] = [p.get_value() for p in run.model.params]

    run.train(training, validation, path=path, each_step=losses.append, each_validation=keep)
    steps = [0, *(int(entry["step"]) for entry in run.losses)]
    for a, b, entry in zip(steps, steps[1:], run.losses, strict=False):
        assert entry["training"] == pytest.approx(np.mean(losses[a:b]))
    values = [entry["validation"] for entry in run.losses]
    assert run.stopping.best_loss == min(values)
    assert kind == "linear" or min(values) < values[-1]
    again = LanguageRun.load(path)
    again.use_best()
    for p, best in zip(again.model.params, at_best, strict=True):
        assert p.get_value().tobytes() == best.tobytes()
    assert again.evaluate(validation) == min(values)


def test_validation_is_the_mean_over_all_its_tokens_by_the_formula():
    run = make(dropout=0.5)
    tokens = texts(run)[1]
    z = pytensor.shared(np.zeros(1))
    total, n = 0.0, 0
    x = pytensor.tensor.lmatrix()
    z = pytensor.function([x], run.model.logits(x)[0])
    for k in range(2):  # 60 tokens in two batch streams of 29 steps
        ids = tokens[29 * k : 29 * k + 30]
        scores = z(ids[:-1, None].astype("int64"))[:, 0]
        log_p = scores - np.log(np.exp(scores).sum(1, keepdims=True))
        total -= log_p[np.arange(29), ids[1:]].sum()
        n += 29
    assert run.evaluate(tokens) == pytest.approx(total / n, rel=1e-9)
    assert len(streams(tokens, batch_size=2, n_steps=10)) == 3


def test_a_short_validation_text_is_read_in_fewer_streams_and_a_shorter_one_refused():
    run = make(batch_size=8)
    assert np.isfinite(run.evaluate(texts(run)[1][:11]))
    with pytest.raises(ValueError, match=r"10 tokens in 1 batch streams give 9 steps each"):
        run.evaluate(texts(run)[1][:10])


def test_a_loss_that_is_nan_leaves_the_file(two, tmp_path):
    _, _, run, start, _ = two

    def spoil(loss):
        if run.n_done == 9:
            b = run.model.params[-1]
            b.set_value(np.full_like(b.get_value(), np.nan))

    go_back(run, start)
    with pytest.raises(NonFiniteLossError, match="the loss is nan at step 10"):
        run.train(*texts(run), path=tmp_path / "model", each_step=spoil)
    again = LanguageRun.load(tmp_path / "model")
    assert again.n_done == 7
    assert all(np.isfinite(p.get_value()).all() for p in again.model.params)


def test_a_file_of_another_kind_or_precision_is_refused(two, tmp_path):
    path, start = tmp_path / "model", two[3]
    checkpoint.save(path, [pytensor.shared(np.ones(1), name="w")], {"kind": "another"})
    with pytest.raises(CheckpointError, match="of the kind 'symrnn language model 2': it is"):
        LanguageRun.load(path)
    with (
        pytensor.config.change_flags(floatX="float32"),
        pytest.raises(CheckpointError, match=r"weights of float64, but pytensor.config.floatX is"),
    ):
        LanguageRun.load(start)


def test_words_their_tokenizer_and_all_settings_come_back(tmp_path):
    words = Words(lower=True, punctuation="drop", line_ends="eos")
    tokens = words.tokenize("You say goodbye,\nand I say hello.\n" * 40)
    settings = LanguageSettings(
        cell="elman", n_embed=4, n_hidden=4, tied=True, batch_size=2, n_steps=8, epochs=1,
        optimizer="adamw", split=(0.7, 0.2, 0.1),
    )  # fmt: skip
    vocabulary = Vocabulary.build(tokens, max_size=6)
    run = LanguageRun(settings, words, vocabulary, source={"texts": ["a"]})
    parts = run.split(vocabulary.encode(tokens))
    assert len(parts) == 3
    with pytest.raises(RuntimeError, match="nothing to save yet"):
        run.save(tmp_path / "model")
    run.train(*parts[:2], path=tmp_path / "model")
    again = LanguageRun.load(tmp_path / "model")
    assert again.settings == settings
    assert (again.tokenizer, again.vocabulary) == (words, vocabulary)
    assert again.source == {"texts": ["a"]}
    assert again.vocabulary.counts.tolist() == vocabulary.counts.tolist()


def test_a_run_whose_learning_rate_has_come_to_zero_goes_on(tmp_path):
    run = make(cell="elman", schedule="plateau", epochs=2)
    run.train(*texts(run), path=tmp_path / "model", each_step=stop_at(5))
    run.learning_rate.set_value(
        np.zeros_like(run.learning_rate.get_value())
    )  # as after very many plateaus
    run.save(tmp_path / "model")
    again = LanguageRun.load(tmp_path / "model")
    before = [p.get_value() for p in again.model.params]
    again.train(*texts(again), path=tmp_path / "model")
    assert again.n_done == 54
    for p, value in zip(again.model.params, before, strict=True):
        assert p.get_value().tobytes() == value.tobytes()


def test_a_finished_run_trains_on_when_its_epochs_are_raised():
    run = make(epochs=1, schedule="linear")
    run.train(*texts(run))
    assert run.losses[-1]["learning_rate"] < 0.005
    run.change(epochs=3)
    run.train(*texts(run))
    assert run.n_done == 81
    assert max(entry["learning_rate"] for entry in run.losses[4:]) == pytest.approx(0.05, rel=0.1)


def test_batch_streams_are_reset_independently_of_each_other_and_of_the_step():
    n_streams, n_steps, reset = 8, 400, 0.3
    run = make(batch_size=n_streams, reset=reset)
    was_reset = np.zeros((n_steps, n_streams), bool)
    for n in range(n_steps):
        run.t.set_value(n)
        for carried in run.carried:
            for variable in carried.state:
                variable.set_value(np.ones_like(variable.get_value()))
        run.begin_step(position=1)
        values = [v.get_value() for carried in run.carried for v in carried.state]
        was_reset[n] = (values[0] == 0).all(axis=1)
        for value in values:  # whole streams, the same in all layers
            np.testing.assert_array_equal(
                value, np.where(was_reset[n], 0.0, 1.0)[:, None] + 0 * value
            )
    spread = 4 * np.sqrt(reset * (1 - reset) / n_steps)
    np.testing.assert_allclose(was_reset.mean(axis=0), reset, atol=spread)  # each stream
    assert len(np.unique(was_reset, axis=0)) > 100  # of 256 sets of streams
    again = was_reset[1:] & was_reset[:-1]
    assert again.mean() == pytest.approx(reset**2, abs=0.03)  # no memory of the step before
    run.begin_step(position=0)  # an epoch begins
    assert all((v.get_value() == 0).all() for carried in run.carried for v in carried.state)


def test_without_resets_states_are_carried_all_through_an_epoch():
    run = make(reset=0)
    for carried in run.carried:
        for variable in carried.state:
            variable.set_value(np.ones_like(variable.get_value()))
    for n in range(50):
        run.t.set_value(n)
        run.begin_step(position=n + 1)
    assert all((v.get_value() == 1).all() for carried in run.carried for v in carried.state)


def test_settings_out_of_range_are_named():
    for options, message in (
        ({"cell": "rnn"}, "cell is 'rnn', but must be one of 'elman', 'lstm', 'gru'"),
        ({"optimizer": "sgd"}, "optimizer is 'sgd', but must be one of .*'gradient_descent'"),
        ({"schedule": "x"}, "schedule is 'x'"),
        ({"mode": "x"}, "mode is 'x', but must be one of 'QUICK', 'NUMBA', 'FAST_COMPILE'"),
        ({"epochs": 0}, "epochs is 0, but must be a positive number"),
        ({"batch_size": 1.5}, "batch_size is 1.5"),
        ({"learning_rate": 0}, "learning_rate is 0, but must be a positive number"),
        ({"clip": -1}, "clip is -1"),
        ({"reset": 1}, r"reset is 1, but must be in \[0, 1\)"),
    ):
        with pytest.raises(ValueError, match=message):
            LanguageSettings(**options)
