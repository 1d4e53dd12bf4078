"""What follows from the validation loss: when to stop, which weights to keep, a lower rate.

Both classes here are called with the loss after every epoch. What they remember can be saved and
put back, so that a resumed training goes on as if it had not stopped: shared variables go into a
checkpoint, and `state` returns the rest as a dictionary.
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
    """Stop when the validation loss does not fall any more; keep the best weights (Prechelt, 1998).

    To be called with the validation loss after every epoch. It says True, stop, when `patience`
    losses in a row have not been below the best one.

    Parameters
    ----------
    params
        What to keep a copy of: a list of shared float variables. Batch normalisation's running
        statistics belong to it: ``[*params, *norm.statistics]``.
    patience
        After how many epochs without a better loss to stop, a whole number from 1. None never
        stops, and only keeps the best weights.

    Attributes
    ----------
    best : list of shared variables
        The copies, named ``best[W_x]``; before the first loss, of the first weights.
    best_loss : float
        The lowest loss so far; infinite before the first.
    best_epoch : int
        When it was told, counted from 1; 0 before the first.
    epoch : int
        How many losses have been told.

    Raises
    ------
    TypeError, ValueError
        If `params` is not as said, or empty, or `patience` is no whole number from 1; when called,
        if the loss is not one finite number.

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

    With a compiled function `validate` that returns the loss without changing a weight::

        stopping = EarlyStopping(params, patience=10)
        train(step, batches, epochs=200, each_epoch=lambda *_: stopping(validate(X, t)))
        stopping.restore()

    With checkpoints (see `symrnn.training.checkpoint`)::

        save(path, [*updates, *stopping.best], {"stopping": stopping.state()})
        ...
        saved = load(path)
        saved.restore([*updates, *stopping.best])
        stopping.set_state(saved.data["stopping"])
    """

    def __init__(self, params: Sequence[Any], patience: int | None) -> None:
        if patience is not None:
            check_whole("patience", patience)
        self.params, self.patience = check_parameters(params), patience
        self.best = [pytensor.shared(p.get_value(), name=f"best[{label(p)}]") for p in self.params]
        self.best_loss, self.best_epoch, self.epoch = float("inf"), 0, 0

    def __call__(self, loss: Any) -> bool:
        """Take note of an epoch's validation loss; return whether to stop."""
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
        """Set `params` to what they were when the loss was best.

        Raises
        ------
        RuntimeError
            If no loss has been told yet.
        """
        if not self.best_epoch:
            raise RuntimeError(
                "there are no best weights yet: call this with the validation loss after each epoch"
            )
        _copy(self.best, self.params)

    def state(self) -> dict[str, Any]:
        """Return what is remembered apart from `best`, as JSON can hold it."""
        return {"best_loss": self.best_loss, "best_epoch": self.best_epoch, "epoch": self.epoch}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Put back what `state` returned."""
        self.best_loss, self.best_epoch = state["best_loss"], state["best_epoch"]
        self.epoch = state["epoch"]


class ReduceOnPlateau:
    """Divide the learning rate when the validation loss does not fall (as Zaremba et al., 2014).

    To be called with the validation loss after every epoch. When `patience` losses in a row have
    not been below the best one, the rate is divided, and they are counted anew.

    Parameters
    ----------
    rate
        The rate, a shared scalar that was given to an update rule.
    factor
        What to divide it by, above 1.
    patience
        After how many epochs without a better loss to divide, a whole number from 1.

    Attributes
    ----------
    best_loss : float
        The lowest loss so far; infinite before the first.
    waited : int
        How many losses in a row have not been below it, since the rate was last divided.
    epoch : int
        How many losses have been told.

    Raises
    ------
    TypeError, ValueError
        If something is not as said; when called, if the loss is not one finite number.

    Examples
    --------
    >>> rate = pytensor.shared(np.array(1.0), name="rate")
    >>> reduce = ReduceOnPlateau(rate, factor=2)
    >>> [(reduce(loss), float(rate.get_value())) for loss in [0.9, 0.5, 0.6, 0.4, 0.4]]
    [(False, 1.0), (False, 1.0), (True, 0.5), (False, 0.5), (True, 0.25)]

    The rate is a shared variable, so a checkpoint takes it: ``save(path, [*updates, rate],
    {"plateau": reduce.state()})``.
    """

    def __init__(self, rate: SharedVariable, factor: float = 4.0, patience: int = 1) -> None:
        if not isinstance(rate, SharedVariable) or np.ndim(rate.get_value()):
            raise TypeError(
                f"rate is {rate!r}, but must be a shared scalar, which the rule was given too: "
                "pytensor.shared(np.asarray(0.1, pytensor.config.floatX), name='rate')"
            )
        check_positive("factor", factor)
        if factor <= 1:
            raise ValueError(f"factor is {factor}, but must be above 1: the rate is divided by it")
        check_whole("patience", patience)
        self.rate, self.factor, self.patience = rate, factor, patience
        self.best_loss, self.waited, self.epoch = float("inf"), 0, 0

    def __call__(self, loss: Any) -> bool:
        """Take note of an epoch's validation loss; return whether the rate was divided."""
        loss = _finite(loss, self.epoch + 1)
        self.epoch += 1
        self.waited = 0 if loss < self.best_loss else self.waited + 1
        self.best_loss = min(loss, self.best_loss)
        if self.waited < self.patience:
            return False
        self.waited = 0
        value = self.rate.get_value()
        self.rate.set_value(np.asarray(value / self.factor, dtype=value.dtype))
        return True

    def state(self) -> dict[str, Any]:
        """Return what is remembered apart from the rate, as JSON can hold it."""
        return {"best_loss": self.best_loss, "waited": self.waited, "epoch": self.epoch}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Put back what `state` returned."""
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
