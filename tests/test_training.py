import os
import signal
import threading

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

from symrnn.training import NonFiniteLossError, check_batch, minibatches, train
from symrnn.updates import gradient_descent


@pytest.fixture
def line():
    """A line through the origin, its slope learnt: the step and the slope."""
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


def test_batches_may_be_made_anew_for_each_epoch():
    rng = np.random.default_rng(0)
    x, t = np.arange(10.0).reshape(2, 5), np.arange(5.0)
    seen = []
    history = train(
        lambda x, t: seen.append((x, t)) or 0.0,
        lambda: minibatches([x, t], 2, rng, axes=[1, 0]),
        epochs=2,
        progress=False,
    )
    assert len(history.loss) == 6
    for epoch in (seen[:3], seen[3:]):
        np.testing.assert_array_equal(np.sort(np.concatenate([t for _, t in epoch])), t)
        for xs, ts in epoch:
            np.testing.assert_array_equal(xs, x[:, ts.astype(int)])
    assert [t.tolist() for _, t in seen[:3]] != [t.tolist() for _, t in seen[3:]]


def test_minibatches_refuse_what_does_not_fit():
    x, t = np.zeros((2, 5)), np.zeros(5)
    with pytest.raises(ValueError, match=r"\[2, 5\] samples along axes \[0, 0\].*axis 1"):
        list(minibatches([x, t], 2))
    with pytest.raises(ValueError, match="batch_size is 0"):
        list(minibatches([t], 0))
    with pytest.raises(ValueError, match=r"\[0\] samples"):
        list(minibatches([np.zeros(0)], 1))


def test_a_loss_that_is_no_number_ends_training_with_its_step(line):
    step, w = line
    losses = iter([2.0, 1.0, float("nan")])
    with pytest.raises(NonFiniteLossError, match=r"the loss is nan at step 3.*learning rate") as e:
        train(lambda: next(losses), [()], epochs=9, progress=False)
    assert e.value.step == 3
    assert e.value.history.loss == [2.0, 1.0]

    w.set_value(1e200)
    with (
        np.errstate(over="ignore"),
        pytest.raises(NonFiniteLossError, match="step 1, before any update"),
    ):
        train(step, [DATA], epochs=9, progress=False)


def test_ctrl_c_ends_after_the_running_step_and_keeps_what_was_learnt(line):
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


def test_progress_is_silent_where_nobody_watches(capsys):
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


def test_integers_where_float32_is_wanted_are_refused():
    x = pt.fmatrix("X")
    function = pytensor.function([x], x.sum())
    with pytest.raises(TypeError, match=r"X was given as int64.*X\.astype\('float32'\)"):
        check_batch(function, (np.ones((2, 2), dtype="int64"),))
    with pytest.raises(TypeError, match="X was given as float64"):
        check_batch(function, (np.ones((2, 2)),))
    check_batch(function, (np.ones((2, 2), dtype="int8"),))


@pytest.mark.parametrize("batches", [[], lambda: iter(())])
def test_no_batches_are_refused(batches):
    with pytest.raises(ValueError, match="an epoch has no batch"):
        train(lambda: 1.0, batches, epochs=2, progress=False)


def test_how_long_to_train_must_be_said_once():
    for wrong in ({}, {"epochs": 1, "steps": 1}):
        with pytest.raises(ValueError, match="either epochs or steps"):
            train(lambda: 1.0, [()], **wrong)
    for wrong in ({"epochs": 0}, {"steps": -1}):
        with pytest.raises(ValueError, match="nothing to do"):
            train(lambda: 1.0, [()], **wrong)
