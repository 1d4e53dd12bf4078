"""Callbacks on the validation loss: early stopping with the best weights, learning-rate reduction.

Both classes are called with the validation loss after every epoch. What they keep can be saved and
restored, so that an interrupted training resumes exactly: shared variables go into the checkpoint,
and `state` returns the rest as a dictionary.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytensor
from pytensor.compile.sharedvalue import SharedVariable

from symrnn._validate import check_positive, check_whole
from symrnn.nn.module import check_parameters, label
from symrnn.training.loop import scalar_loss


class EarlyStopping:
    """Stop when the validation loss no longer improves; keep the best weights (Prechelt, 1998).

    Call it with the validation loss after every epoch. It returns True, that is stop, when
    `patience` losses in a row have not been below the best one.

    Parameters
    ----------
    params
        The weights to keep a copy of: a list of shared float variables. A net with running
        statistics, as of batch normalisation, needs ``list(net.named_variables().values())``.
    patience
        Number of epochs without a better loss after which to stop, a whole number from 1. None:
        never stop, only keep the best weights.

    Attributes
    ----------
    best : list of shared variables
        The copies, named ``best[W_x]``; the initial weights before the first loss.
    best_loss : float
        The lowest loss so far; infinite before the first.
    best_epoch : int
        The epoch of the lowest loss, counted from 1; 0 before the first.
    epoch : int
        Number of losses so far.

    Examples
    --------
    >>> import pytensor
    >>> w = pytensor.shared(np.array(0.0), name="w")
    >>> stopping = EarlyStopping([w], patience=2)
    >>> for epoch, loss in enumerate([0.9, 0.5, 0.6, 0.5], start=1):
    ...     w.set_value(epoch)
    ...     print(epoch, stopping(loss))
    1 False
    2 False
    3 False
    4 True
    >>> stopping.restore()
    >>> float(w.get_value()), stopping.best_epoch, stopping.best_loss
    (2.0, 2, 0.5)

    With a compiled function `validate` that returns the loss and updates nothing::

        stopping = EarlyStopping(params, patience=10)
        train(step, batches, epochs=200, each_epoch=lambda *_: stopping(validate(X, t)))
        stopping.restore()

    With checkpoints (see `symrnn.save`)::

        save(path, [*updates, *stopping.best], {"stopping": stopping.state()})
        ...
        saved = load(path)
        saved.restore([*updates, *stopping.best])
        stopping.set_state(saved.data["stopping"])
    """

    def __init__(self, params: Sequence[Any], *, patience: int | None) -> None:
        if patience is not None:
            check_whole("patience", patience)
        self.params, self.patience = check_parameters(params), patience
        self.best = [pytensor.shared(p.get_value(), name=f"best[{label(p)}]") for p in self.params]
        self.best_loss, self.best_epoch, self.epoch = float("inf"), 0, 0

    def __call__(self, loss: Any) -> bool:
        """Record the validation loss of an epoch; return whether to stop."""
        loss = _finite(loss, self.epoch + 1)
        self.epoch += 1
        if loss < self.best_loss:
            self.best_loss, self.best_epoch = loss, self.epoch
            _copy(self.params, self.best)
        return self.is_over()

    def is_over(self) -> bool:
        """Return whether `patience` losses in a row have not been below the best one."""
        return self.patience is not None and self.epoch - self.best_epoch >= self.patience

    def restore(self) -> None:
        """Set `params` to the weights of the best loss.

        Raises
        ------
        RuntimeError
            If there has been no loss yet.
        """
        if not self.best_epoch:
            raise RuntimeError(
                "there are no best weights yet: call this with the validation loss after each epoch"
            )
        _copy(self.best, self.params)

    def state(self) -> dict[str, Any]:
        """Return the state apart from `best`, as JSON can hold it."""
        return {"best_loss": self.best_loss, "best_epoch": self.best_epoch, "epoch": self.epoch}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""
        self.best_loss, self.best_epoch = state["best_loss"], state["best_epoch"]
        self.epoch = state["epoch"]


class ReduceOnPlateau:
    """Divide the learning rate when the validation loss no longer improves (Zaremba et al., 2014).

    Call it with the validation loss after every epoch. When `patience` losses in a row have not
    been below the best one, it divides the learning rate and starts counting again.

    Parameters
    ----------
    learning_rate
        The shared scalar that was given to the optimizer.
    factor
        What the learning rate is divided by, above 1.
    patience
        Number of epochs without a better loss after which to divide, a whole number from 1.

    Attributes
    ----------
    best_loss : float
        The lowest loss so far; infinite before the first.
    waited : int
        Number of losses in a row that were not below it, since the last division.
    epoch : int
        Number of losses so far.

    Examples
    --------
    >>> learning_rate = pytensor.shared(np.array(1.0), name="learning_rate")
    >>> reduce = ReduceOnPlateau(learning_rate, factor=2)
    >>> [(reduce(loss), float(learning_rate.get_value())) for loss in [0.9, 0.5, 0.6, 0.4, 0.4]]
    [(False, 1.0), (False, 1.0), (True, 0.5), (False, 0.5), (True, 0.25)]

    With checkpoints: ``save(path, [*updates, learning_rate], {"plateau": reduce.state()})``.
    """

    def __init__(
        self, learning_rate: SharedVariable, *, factor: float = 4.0, patience: int = 1
    ) -> None:
        if not isinstance(learning_rate, SharedVariable) or np.ndim(learning_rate.get_value()):
            raise TypeError(
                f"learning_rate is {learning_rate!r}, but must be a shared scalar, the one given "
                "to the optimizer: "
                "pytensor.shared(np.asarray(0.1, pytensor.config.floatX), name='learning_rate')"
            )
        check_positive("factor", factor)
        if factor <= 1:
            raise ValueError(
                f"factor is {factor}, but must be above 1: the learning rate is divided by it"
            )
        check_whole("patience", patience)
        self.learning_rate, self.factor, self.patience = learning_rate, factor, patience
        self.best_loss, self.waited, self.epoch = float("inf"), 0, 0

    def __call__(self, loss: Any) -> bool:
        """Record the validation loss of an epoch; return whether the learning rate was divided."""
        loss = _finite(loss, self.epoch + 1)
        self.epoch += 1
        self.waited = 0 if loss < self.best_loss else self.waited + 1
        self.best_loss = min(loss, self.best_loss)
        if self.waited < self.patience:
            return False
        self.waited = 0
        value = self.learning_rate.get_value()
        self.learning_rate.set_value(np.asarray(value / self.factor, dtype=value.dtype))
        return True

    def state(self) -> dict[str, Any]:
        """Return the state apart from the learning rate, as JSON can hold it."""
        return {"best_loss": self.best_loss, "waited": self.waited, "epoch": self.epoch}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""
        self.best_loss, self.waited = state["best_loss"], state["waited"]
        self.epoch = state["epoch"]


def _finite(loss: Any, epoch: int) -> float:
    value = scalar_loss(loss)
    if not np.isfinite(value):
        raise ValueError(
            f"the validation loss is {value} after epoch {epoch}: look at the validation data, or "
            "train with a lower learning rate or clipped gradients"
        )
    return value


def _copy(sources: Sequence[SharedVariable], targets: Sequence[SharedVariable]) -> None:
    for source, target in zip(sources, targets, strict=True):
        target.set_value(source.get_value())
