"""The training loop: calls a compiled step on each batch, shows progress, stops cleanly."""

import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import numpy as np
from tqdm import tqdm

from symrnn._validate import check_whole
from symrnn.compiling.function import generators_without_update
from symrnn.training.batches import Batch, check_batch


@dataclass
class History:
    """What happened during training.

    Attributes
    ----------
    loss : list of float
        The loss of every step, as the compiled function returned it (before the step's update).
    epoch_loss : list of float
        The mean loss of every completed epoch.
    seconds : float
        Time taken.
    interrupted : bool
        True if Ctrl-C ended training: the weights then are those after the last step.
    stopped : bool
        True if `each_epoch` ended training.
    """

    loss: list[float] = field(default_factory=list)
    epoch_loss: list[float] = field(default_factory=list)
    seconds: float = 0.0
    interrupted: bool = False
    stopped: bool = False


class NonFiniteLossError(FloatingPointError):
    """The loss is NaN or infinite: training has diverged, and the weights are useless.

    Attributes
    ----------
    loss : float
        NaN or infinite.
    step : int
        The step of that loss, counted from 1.
    history : History
        The steps before it.
    """

    def __init__(self, loss: float, step: int, history: History) -> None:
        super().__init__(
            f"the loss is {loss} at step {step}: training has diverged. Usual fixes: a lower "
            "learning rate, or clipped gradients (symrnn.clip_by_global_norm)"
            if step > 1
            else f"the loss is {loss} at the first step, before any update: look at the data and "
            "at the weights (those of a training that diverged must be initialised again)"
        )
        self.loss, self.step, self.history = loss, step, history

    def __reduce__(self) -> tuple[Any, ...]:
        """Let the error pass from one process to another."""
        return type(self), (self.loss, self.step, self.history)


def train(
    function: Callable[..., Any],
    batches: Sequence[Batch] | Callable[[], Iterable[Batch]],
    *,
    epochs: int | None = None,
    steps: int | None = None,
    progress: bool | None = None,
    label: str = "training",
    each_step: Callable[[int, float], None] | None = None,
    each_epoch: Callable[[int, float], bool | None] | None = None,
) -> History:
    """Call a compiled training step on all batches, epoch after epoch.

    Ctrl-C ends training after the running step, so that every update is complete; a second one
    raises KeyboardInterrupt at once.

    Parameters
    ----------
    function
        A compiled function with updates, called as ``function(*batch)``. Its result, or the first
        of its results, is the loss. A generator in it that has no update gives the same random
        numbers at each call, for example always the same dropout mask; a warning is issued.
    batches
        A list of batches, each a tuple of arrays, the same in every epoch; or a function without
        arguments that returns the batches of one epoch, for example
        ``lambda: minibatches([X, t], 32, rng=rng, axes=[1, 0])``.
    epochs
        Number of epochs, at least 1.
    steps
        Number of steps, at least 1; give either this or `epochs`.
    progress
        Show a progress bar with loss and remaining time. Default: if the output is a terminal.
    label
        Description in the progress bar.
    each_step
        Called after every step with its number, from 1, and its loss.
    each_epoch
        Called after every completed epoch with its number, from 1, and its mean loss. Training ends
        if it returns True: see `symrnn.EarlyStopping`.

    Returns
    -------
    History
        Losses, time, and whether training was interrupted or stopped.

    Raises
    ------
    NonFiniteLossError
        As soon as a loss is NaN or infinite.

    Examples
    --------
    >>> import pytensor, pytensor.tensor as pt
    >>> from symrnn.training.optimizers import gradient_descent
    >>> w, x, t = pytensor.shared(np.array(0.0), name="w"), pt.vector("x"), pt.vector("t")
    >>> loss = ((w * x - t) ** 2).sum()
    >>> step = pytensor.function([x, t], loss, updates=gradient_descent(loss, [w], 0.1),
    ...                          mode="FAST_COMPILE")
    >>> one, three = np.ones(1, dtype=x.dtype), np.full(1, 3.0, dtype=x.dtype)
    >>> history = train(step, [(one, three)], epochs=50, progress=False)
    >>> len(history.loss), round(float(w.get_value()), 3)
    (50, 3.0)
    """
    _check_length(epochs, steps)
    if not callable(batches) and not isinstance(batches, Sequence):
        raise TypeError(
            f"batches is a {type(batches).__name__}, which can be iterated only once: "
            "give a list of batches, or a function, for example lambda: minibatches(...)"
        )
    _warn_of_missing_updates(function)
    history, started = History(), time.perf_counter()

    def done() -> bool:
        finished = len(history.loss) == steps or len(history.epoch_loss) == epochs
        return finished or history.interrupted or history.stopped

    n_steps = steps if epochs is None or callable(batches) else epochs * len(batches)
    hidden = None if progress is None else not progress  # None: shown in a terminal only
    bar = tqdm(total=n_steps, desc=label, unit=" steps", disable=hidden)
    with bar, _ctrl_c() as ctrl_c_pressed:
        while True:
            first = len(history.loss)
            for batch in batches() if callable(batches) else batches:
                if done():
                    return history
                if callable(batches) or not history.epoch_loss:
                    check_batch(function, batch)
                loss = scalar_loss(_call(function, batch))
                if not np.isfinite(loss):
                    raise NonFiniteLossError(loss, len(history.loss) + 1, history)
                history.loss.append(loss)
                if each_step is not None:
                    each_step(len(history.loss), loss)
                bar.set_postfix_str(f"loss {loss:.4g}", refresh=False)
                bar.update()
                history.seconds = time.perf_counter() - started
                history.interrupted = ctrl_c_pressed()
            if len(history.loss) == first:
                raise ValueError("an epoch has no batch")
            history.epoch_loss.append(float(np.mean(history.loss[first:])))
            if each_epoch is not None:
                stop = each_epoch(len(history.epoch_loss), history.epoch_loss[-1])
                history.stopped = _says_stop(stop)
                history.seconds = time.perf_counter() - started
                history.interrupted = ctrl_c_pressed()
            if done():
                return history
            if epochs is not None:  # if batches is a function, their number is known now
                bar.total = epochs * len(history.loss) // len(history.epoch_loss)


def _warn_of_missing_updates(function: Any) -> None:
    """Warn if a compiled function has no updates, or a generator that it does not update."""
    inputs = function.maker.inputs if hasattr(function, "maker") else []
    if hasattr(function, "maker") and all(i.update is None for i in inputs):
        warnings.warn(
            "the function has no updates, so no weight will change: compile it with "
            "symrnn.function(inputs, loss, updates=symrnn.adam(loss, net.params))",
            stacklevel=3,
        )
    if names := generators_without_update(function):
        warnings.warn(
            "the function draws the same random numbers at each call, because it has no update for "
            f"{', '.join(names)}. Compile it with symrnn.function, which collects such updates, "
            "or with pytensor.function(..., updates=... | symrnn.graph_updates(loss))",
            stacklevel=3,
        )


def _check_length(epochs: Any, steps: Any) -> None:
    """Check that one of both is given."""
    if (epochs is None) == (steps is None):
        raise ValueError("give either epochs or steps")
    name, value = ("epochs", epochs) if steps is None else ("steps", steps)
    check_whole(name, value)


def _says_stop(answer: Any) -> bool:
    """Return whether `each_epoch` asked to stop; anything but True, False, None is an error."""
    if not isinstance(answer, bool | np.bool_ | None):
        raise TypeError(
            f"each_epoch returned {answer!r}, but must return True to stop, else False or None"
        )
    return bool(answer)


def _call(function: Callable[..., Any], batch: Batch) -> Any:
    """Call the function; add the batch's shapes and dtypes to its errors."""
    try:
        return function(*batch)
    except Exception as error:
        given = ", ".join(f"{np.shape(array)} {np.asarray(array).dtype}" for array in batch)
        error.add_note(f"The batch has arrays of these shapes and dtypes: {given}")
        raise


def scalar_loss(result: Any) -> float:
    """Return the loss in the result of a compiled function: the result, or the first of them.

    Parameters
    ----------
    result
        What the function returned; ValueError if its loss is not a scalar.
    """
    if isinstance(result, list | tuple):
        result = result[0] if result else None
    if result is None or np.ndim(result):
        raise ValueError(
            "the function must return the loss, a scalar, as its only or first result, but "
            f"returned {'nothing' if result is None else f'an array of shape {np.shape(result)}'}"
        )
    return float(result)


@contextmanager
def _ctrl_c() -> Iterator[Callable[[], bool]]:
    """Delay a first Ctrl-C until the running step is done; a second one raises as always.

    Where SIGINT is ignored or has another handler, as in a search, nothing changes.
    """
    pressed = threading.Event()
    before = signal.getsignal(signal.SIGINT)
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or before is not signal.default_int_handler:
        yield pressed.is_set
        return

    def note(number: int, frame: FrameType | None) -> None:
        pressed.set()
        # print could be called within a print
        os.write(2, b"\nCtrl-C: stopping when the running step is done; again to stop at once\n")
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, before)
