import os
import pickle
import signal
import threading
import time

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

from symrnn.compiling.function import function, graph_updates
from symrnn.training.batches import minibatches
from symrnn.training.loop import NonFiniteLossError, train
from symrnn.training.losses import sum_squared_error
from symrnn.training.optimizers import gradient_descent
from symrnn.training.schedules import advance, step_counter


@pytest.fixture
def line():
    """A line through the origin, whose slope is learned: the step and the slope."""
    w, x, t = pytensor.shared(np.array(0.0), name="w"), pt.vector("x"), pt.vector("t")
    loss = ((w * x - t) ** 2).mean()
    return pytensor.function([x, t], loss, updates=gradient_descent(loss, [w], 0.1)), w


DATA = (np.array([1.0, 2.0]), np.array([3.0, 6.0]))


def test_history_holds_the_loss_before_each_update(line):
    step, w = line
    history = train(step, [DATA], epochs=3, progress=False)
    slope, losses = 0.0, []
    for _ in range(3):
        losses.append(np.mean((slope * DATA[0] - DATA[1]) ** 2))
        slope -= 0.1 * np.mean(2 * (slope * DATA[0] - DATA[1]) * DATA[0])
    np.testing.assert_allclose(history.loss, losses, rtol=1e-13)
    np.testing.assert_allclose(history.epoch_loss, losses, rtol=1e-13)
    assert float(w.get_value()) == pytest.approx(slope)
    assert history.seconds > 0
    assert not history.interrupted


def test_epochs_go_through_all_batches_and_average_them():
    seen = []

    def step(a):
        seen.append(a)
        return float(a)

    history = train(step, [(1,), (3,), (8,)], epochs=2, progress=False)
    assert seen == [1, 3, 8, 1, 3, 8]
    assert history.epoch_loss == [4, 4]


def test_steps_end_in_the_middle_of_an_epoch():
    history = train(lambda a: [float(a), "more"], [(1,), (2,), (3,)], steps=4, progress=False)
    assert history.loss == [1, 2, 3, 1]
    assert history.epoch_loss == [2]


def test_an_epoch_that_the_last_step_completes_is_counted():
    for batches in ([(1,), (3,)], lambda: iter([(1,), (3,)])):
        history = train(float, batches, steps=4, progress=False)
        assert history.loss == [1, 3, 1, 3]
        assert history.epoch_loss == [2, 2]


def test_each_epoch_gets_its_number_and_mean_loss_and_may_stop():
    seen = []

    def each_epoch(epoch, loss):
        seen.append((epoch, loss))
        return epoch == 2

    batches = [(1,), (3,)]
    history = train(float, batches, epochs=9, progress=False, each_epoch=each_epoch)
    assert seen == [(1, 2), (2, 2)]
    assert history.stopped
    assert not history.interrupted
    assert history.loss == [1, 3, 1, 3]
    for answer in (None, False, np.False_):
        history = train(float, batches, epochs=3, progress=False, each_epoch=lambda *_, a=answer: a)
        assert (len(history.epoch_loss), history.stopped) == (3, False)


def test_each_epoch_is_called_for_whole_epochs_only_and_its_time_counts():
    seen = []
    history = train(
        float, [(1,), (3,)], steps=3, progress=False,
        each_epoch=lambda epoch, loss: time.sleep(0.05) or seen.append(epoch),
    )  # fmt: skip
    assert seen == [1]
    assert history.seconds >= 0.05


def test_ctrl_c_in_each_epoch_ends_training():
    def press(epoch, loss):
        os.kill(os.getpid(), signal.SIGINT)

    history = train(float, [(1,)], epochs=9, progress=False, each_epoch=press)
    assert history.interrupted
    assert len(history.loss) == 1


def test_each_epoch_must_return_a_truth_value_or_none():
    with pytest.raises(TypeError, match=r"each_epoch returned 0.3, but must return True to stop"):
        train(float, [(1,)], epochs=2, progress=False, each_epoch=lambda *_: 0.3)


def test_seconds_are_those_that_passed():
    started = time.perf_counter()
    history = train(lambda: time.sleep(0.02) or 1.0, [()], epochs=2, progress=False)
    assert 0.04 <= history.seconds <= time.perf_counter() - started


def test_batches_may_be_made_anew_for_each_epoch():
    rng = np.random.default_rng(0)
    x, t = np.arange(10.0).reshape(2, 5), np.arange(5.0)
    seen = []
    history = train(
        lambda x, t: seen.append((x, t)) or 0.0,
        lambda: minibatches([x, t], 2, rng=rng, axes=[1, 0]),
        epochs=2,
        progress=False,
    )
    assert len(history.loss) == 6
    for epoch in (seen[:3], seen[3:]):
        np.testing.assert_array_equal(np.sort(np.concatenate([t for _, t in epoch])), t)
        for xs, ts in epoch:
            np.testing.assert_array_equal(xs, x[:, ts.astype(int)])
    assert [t.tolist() for _, t in seen[:3]] != [t.tolist() for _, t in seen[3:]]


def test_a_loss_that_is_nan_ends_training_with_its_step(line):
    step, w = line
    losses = iter([2.0, 1.0, float("nan")])
    with pytest.raises(
        NonFiniteLossError, match=r"the loss is nan at step 3.*diverged.*learning rate"
    ) as e:
        train(lambda: next(losses), [()], epochs=9, progress=False)
    assert e.value.step == 3
    assert e.value.history.loss == [2.0, 1.0]
    again = pickle.loads(pickle.dumps(e.value))
    assert (str(again), again.step, again.history) == (str(e.value), 3, e.value.history)

    w.set_value(1e200)
    with (
        np.errstate(over="ignore"),
        pytest.raises(
            NonFiniteLossError, match=r"at the first step.*look at the data and at the weights"
        ),
    ):
        train(step, [DATA], epochs=9, progress=False)


def test_ctrl_c_ends_after_the_running_step_and_keeps_the_weights(line):
    step, w = line

    def press(number, loss):
        if number == 5:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    history = train(step, [DATA], epochs=1000, progress=False, each_step=press)
    assert history.interrupted
    assert len(history.loss) == 5
    assert float(w.get_value()) == pytest.approx(3 * (1 - 0.5**5))
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("before", [signal.SIG_IGN, lambda number, frame: None])
def test_ctrl_c_is_left_to_those_who_handle_or_ignore_it(before):
    def press(step, loss):
        assert signal.getsignal(signal.SIGINT) is before
        os.kill(os.getpid(), signal.SIGINT)

    usual = signal.signal(signal.SIGINT, before)
    try:
        history = train(lambda x: 1.0, [(np.ones(1),)], steps=3, each_step=press)
    finally:
        signal.signal(signal.SIGINT, usual)
    assert len(history.loss) == 3
    assert not history.interrupted


def test_a_second_ctrl_c_is_not_held_back():
    def press_twice(number, loss):
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(lambda: 1.0, [()], epochs=9, progress=False, each_step=press_twice)
    assert signal.getsignal(signal.SIGINT) is before


def test_training_works_in_another_thread():
    result = []
    thread = threading.Thread(
        target=lambda: result.append(train(lambda: 1.0, [()], epochs=2, progress=False))
    )
    thread.start()
    thread.join()
    assert result[0].loss == [1.0, 1.0]


def test_progress_shows_loss_and_remaining_time(capsys):
    train(lambda: 0.25, [()], epochs=3, progress=True, label="counting")
    shown = capsys.readouterr().err
    assert "counting: 100%" in shown
    assert "loss 0.25" in shown
    assert "<00:00" in shown  # tqdm: elapsed<remaining


def test_remaining_time_is_known_after_one_epoch_of_batches_from_a_function(capsys):
    train(lambda a: 0.25, lambda: iter([(1,), (2,)]), epochs=3, progress=True)
    assert "6/6 [00:00<00:00" in capsys.readouterr().err


def test_progress_is_silent_without_a_terminal(capsys):
    train(lambda: 0.25, [()], epochs=3)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("batch", "error", "message"),
    [
        ((np.ones(2), np.array([1, np.nan])), ValueError, "t has 1 values that are NaN"),
        ((np.ones(2), np.array([1, np.inf])), ValueError, "t has 1 values that are NaN"),
        ((np.ones((2, 1)), np.ones(2)), ValueError, r"x was given with shape \(2, 1\).*1 axes"),
        ((np.ones(0), np.ones(0)), ValueError, r"x was given with shape \(0,\): it is empty"),
        ((np.ones(2),), ValueError, "a batch has 1 arrays, but the function has 2 inputs: x, t"),
    ],
)
def test_batches_that_do_not_fit_are_refused_before_the_first_step(line, batch, error, message):
    step, w = line
    with pytest.raises(error, match=message):
        train(step, [batch], epochs=1, progress=False)
    assert w.get_value() == 0


def test_an_error_in_a_step_tells_what_it_was_given():
    x, t = pt.matrix("X"), pt.vector("t")
    step = pytensor.function(
        [x, t], sum_squared_error(x.sum(axis=0), t), updates=advance(step_counter())
    )
    with pytest.raises(ValueError, match="differ in shape") as e:
        train(step, [(np.ones((20, 10)), np.ones(20))], epochs=1, progress=False)
    note = "The batch has arrays of these shapes and dtypes: (20, 10) float64, (20,) float64"
    assert note in e.value.__notes__


def test_a_function_without_updates_is_warned_of():
    x = pt.vector("x")
    with pytest.warns(UserWarning, match=r"no updates.*updates=symrnn\.adam"):
        train(pytensor.function([x], x.sum()), [(np.ones(2),)], epochs=1, progress=False)


def test_every_batch_of_the_first_epoch_is_checked(line):
    step, _ = line
    with pytest.raises(ValueError, match="t has 1 values that are NaN"):
        train(step, [DATA, (np.ones(2), np.array([np.nan, 1.0]))], epochs=1, progress=False)


def test_the_batches_of_a_function_are_checked_in_every_epoch(line):
    step, _ = line
    epochs = iter([[DATA], [(np.ones(2), np.array([np.nan, 1.0]))]])
    with pytest.raises(ValueError, match="t has 1 values that are NaN"):
        train(step, lambda: next(epochs), epochs=2, progress=False)


@pytest.mark.parametrize("batches", [[], lambda: iter(())])
def test_no_batches_are_refused(batches):
    with pytest.raises(ValueError, match="an epoch has no batch"):
        train(lambda: 1.0, batches, epochs=2, progress=False)


def test_batches_in_another_form_are_refused(line):
    step, _ = line
    with pytest.raises(TypeError, match=r"only once.*lambda: minibatches"):
        train(step, minibatches(DATA, 1), epochs=2)
    with pytest.raises(TypeError, match=r"give \[\(X, t\)\]"):
        train(step, DATA, epochs=2)


@pytest.mark.parametrize(
    ("result", "given"), [(None, "nothing"), ([], "nothing"), (np.ones(3), r"shape \(3,\)")]
)
def test_a_step_must_return_its_loss(result, given):
    with pytest.raises(ValueError, match=f"must return the loss.*{given}"):
        train(lambda: result, [()], epochs=1, progress=False)


def test_either_epochs_or_steps_must_be_given():
    for wrong in ({}, {"epochs": 1, "steps": 1}):
        with pytest.raises(ValueError, match="either epochs or steps"):
            train(lambda: 1.0, [()], **wrong)
    for name in ("epochs", "steps"):
        for wrong in (0, -1, 2.5, np.nan):
            with pytest.raises(ValueError, match=f"{name} is {wrong}, but must be a whole number"):
                train(lambda: 1.0, [()], **{name: wrong})


def noisy_loss(*names):
    """The mean of random numbers, from one generator for each name, plus a weight."""
    w = pytensor.shared(np.array(1.0), name="w")
    draws = [pt.random.shared_rng(seed=1, name=name).uniform(size=(3,))[1] for name in names]
    return w, w**2 + sum(draw.mean() for draw in draws)


def test_a_generator_without_update_is_warned_of_once_and_by_name():
    w, loss = noisy_loss("mask", None)
    step = pytensor.function([], loss, updates=gradient_descent(loss, [w], 1e-9))
    message = r"same random numbers.*for mask, an unnamed.*symrnn\.function.*symrnn\.graph_updates"
    with pytest.warns(UserWarning, match=message) as caught:
        history = train(step, [()], epochs=3, progress=False)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    np.testing.assert_allclose(history.loss, history.loss[0], rtol=1e-6)


@pytest.mark.parametrize(
    "compile_step",
    [
        lambda loss, updates: function([], loss, updates=updates, mode="FAST_COMPILE"),
        lambda loss, updates: pytensor.function([], loss, updates=updates | graph_updates(loss)),
    ],
    ids=["symrnn.function", "graph_updates"],
)
def test_both_remedies_make_new_random_numbers_at_each_step(compile_step):
    w, loss = noisy_loss("mask", None)
    history = train(
        compile_step(loss, gradient_descent(loss, [w], 1e-9)), [()], epochs=3, progress=False
    )
    assert min(np.abs(np.diff(history.loss))) > 1e-3
