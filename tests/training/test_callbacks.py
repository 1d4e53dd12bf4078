"""Early stopping and learning-rate reduction: counted by hand, and saved and restored."""

import numpy as np
import pytensor
import pytest

from symrnn.training.callbacks import EarlyStopping, ReduceOnPlateau
from symrnn.training.loop import train
from symrnn.training.optimizers import gradient_descent


def test_early_stopping_waits_for_patience_epochs_and_restores_the_best():
    w, b = pytensor.shared(np.zeros(2), name="w"), pytensor.shared(np.array(0.0), name="b")
    stopping = EarlyStopping([w, b], patience=3)
    losses = [5, 3, 4, 3, 2, 2, 9, 2, 1]  # equal to the best is not better
    validation = iter(losses)

    def step():
        w.set_value(w.get_value() + 1)
        b.set_value(b.get_value() - 1)
        return 0.0

    history = train(
        step, [()], epochs=99, progress=False, each_epoch=lambda *_: stopping(next(validation))
    )
    assert history.stopped
    assert len(history.epoch_loss) == stopping.epoch == 8
    assert (stopping.best_loss, stopping.best_epoch) == (2, 5)
    assert w.get_value().tolist() == [8, 8]
    stopping.restore()
    assert (w.get_value().tolist(), float(b.get_value())) == ([5, 5], -5)
    w.set_value([0.0, 0.0])  # the copy is its own, and may be restored again
    stopping.restore()
    assert w.get_value().tolist() == [5, 5]


def test_early_stopping_takes_what_a_compiled_function_returns():
    w = pytensor.shared(np.array(0.0), name="w")
    stopping = EarlyStopping([w], patience=1)
    assert [stopping(loss) for loss in (np.array(2.0), [np.array(1.0), "more"], np.float32(1))] == [
        False,
        False,
        True,
    ]


def test_early_stopping_refuses_what_is_not_a_loss_a_weight_or_a_patience():
    w = pytensor.shared(np.array(0.0), name="w")
    stopping = EarlyStopping([w], patience=2)
    with pytest.raises(RuntimeError, match="no best weights yet"):
        stopping.restore()
    stopping(1.0)
    for loss in (np.nan, np.inf):
        with pytest.raises(ValueError, match=rf"the validation loss is {loss} after epoch 2"):
            stopping(loss)
    with pytest.raises(ValueError, match="the loss, a scalar"):
        stopping(np.ones(3))
    for patience in (0, -1, 2.5):
        with pytest.raises(ValueError, match=f"patience is {patience}, but must be a whole number"):
            EarlyStopping([w], patience=patience)
    with pytest.raises(ValueError, match="params is empty"):
        EarlyStopping([], patience=2)
    with pytest.raises(TypeError, match=r"must be a list: write \[w\]"):
        EarlyStopping(w, patience=2)


def test_without_patience_it_only_keeps_the_best_weights():
    w = pytensor.shared(np.array(1.0), name="w")
    stopping = EarlyStopping([w], patience=None)
    assert [stopping.best[0].name, float(stopping.best[0].get_value())] == ["best[w]", 1.0]
    for epoch, loss in enumerate([3, 1, *range(2, 60)]):
        w.set_value(epoch)
        assert stopping(loss) is False
    stopping.restore()
    assert (float(w.get_value()), stopping.best_epoch, stopping.epoch) == (1, 2, 60)


def shared_eta(value=1.0, dtype="float32"):
    return pytensor.shared(np.asarray(value, dtype), name="learning_rate")


def test_the_learning_rate_is_divided_after_so_many_losses_not_below_the_best():
    losses = [5, 4, 4, 3, 3.5, 3.2, 3.1, 3, 2, 2, 2]  # equal to the best is not better
    for patience, divided in ((1, [3, 5, 6, 7, 8, 10, 11]), (2, [6, 8, 11]), (3, [7])):
        eta = shared_eta()
        reduce = ReduceOnPlateau(eta, factor=2, patience=patience)
        assert [n for n, loss in enumerate(losses, 1) if reduce(loss)] == divided
        assert eta.get_value() == np.float32(0.5 ** len(divided))
        assert eta.get_value().dtype == np.float32


def test_the_optimizer_uses_the_lower_learning_rate_at_once():
    w, eta = pytensor.shared(np.array(0.0), name="w"), shared_eta(1.0, "float64")
    step = pytensor.function([], w, updates=gradient_descent(w, [w], eta))
    reduce = ReduceOnPlateau(eta)
    values = []
    for loss in (1, 2, 0.5):
        step()
        reduce(loss)
        values.append(float(w.get_value()))
    assert values == [-1, -2, -2.25]


@pytest.mark.parametrize("cut", range(9))
def test_both_resume_exactly_from_a_saved_state(cut):
    losses = [5, 4, 6, 6, 3, 4, 4, 3.5, 4]

    def make():
        w, eta = pytensor.shared(np.array(0.0), name="w"), shared_eta()
        return w, eta, EarlyStopping([w], patience=4), ReduceOnPlateau(eta, patience=2)

    def tell(which, losses):
        w, eta, stopping, reduce = which
        answers = []
        for loss in losses:
            w.set_value(w.get_value() + 1)
            answers.append((stopping(loss), reduce(loss), float(eta.get_value())))
        return answers

    whole, first, second = make(), make(), make()
    expected = tell(whole, losses)
    answers = tell(first, losses[:cut])
    for a, b in zip([*first[2].best, *first[:2]], [*second[2].best, *second[:2]], strict=True):
        b.set_value(a.get_value())
    for k in (2, 3):
        second[k].set_state(first[k].state())
    assert answers + tell(second, losses[cut:]) == expected
    assert [second[k].state() for k in (2, 3)] == [whole[k].state() for k in (2, 3)]
    assert second[2].best[0].get_value() == whole[2].best[0].get_value() == 5


def test_reduce_on_plateau_refuses_what_is_not_a_shared_scalar_a_factor_or_a_loss():
    for eta in (0.1, pytensor.shared(np.ones(2)), None):
        with pytest.raises(TypeError, match="must be a shared scalar"):
            ReduceOnPlateau(eta)
    with pytest.raises(ValueError, match="factor is 1, but must be above 1"):
        ReduceOnPlateau(shared_eta(), factor=1)
    with pytest.raises(ValueError, match="factor is -2, but must be a positive number"):
        ReduceOnPlateau(shared_eta(), factor=-2)
    with pytest.raises(ValueError, match="patience is 0, but must be a whole number"):
        ReduceOnPlateau(shared_eta(), patience=0)
    reduce = ReduceOnPlateau(shared_eta())
    with pytest.raises(ValueError, match="the validation loss is nan after epoch 1"):
        reduce(np.nan)
    assert reduce.epoch == 0
