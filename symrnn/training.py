"""The training loop: calls a compiled step on batch after batch, shows progress, stops cleanly."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import numpy as np
from numpy.random import Generator, RandomState
from numpy.typing import NDArray
from tqdm import tqdm

from symrnn.parameters import check_whole

Batch = tuple[Any, ...]


@dataclass
class History:
    """What happened during training.

    Attributes
    ----------
    loss : list of float
        The loss of every step, as the compiled function returned it (before that step's update).
    epoch_loss : list of float
        The mean loss of every epoch that was gone through to its end.
    seconds : float
        Time spent.
    interrupted : bool
        True if Ctrl-C ended it: the weights then hold what had been learnt until the last step.
    stopped : bool
        True if `each_epoch` ended it.
    """

    loss: list[float] = field(default_factory=list)
    epoch_loss: list[float] = field(default_factory=list)
    seconds: float = 0.0
    interrupted: bool = False
    stopped: bool = False


class NonFiniteLossError(FloatingPointError):
    """The loss became NaN or infinite. The weights are then no longer of use.

    Attributes
    ----------
    loss : float
        NaN or infinite.
    step : int
        The step at which it appeared, counted from 1.
    history : History
        The steps before it.
    """

    def __init__(self, loss: float, step: int, history: History) -> None:
        super().__init__(
            f"the loss is {loss} at step {step}: an update before it has thrown the weights off. "
            "Usual fixes: a lower learning rate, or clipped gradients "
            "(symrnn.updates.clip_by_global_norm)"
            if step > 1
            else f"the loss is {loss} at the first step: look at the data, and at the weights it "
            "starts from (after training that went wrong they must be set anew)"
        )
        self.loss, self.step, self.history = loss, step, history

    def __reduce__(self) -> tuple[Any, ...]:
        """Let the error pass from one process to another."""
        return type(self), (self.loss, self.step, self.history)


def train(
    function: Callable[..., Any],
    batches: Sequence[Batch] | Callable[[], Iterable[Batch]],
    epochs: int | None = None,
    steps: int | None = None,
    progress: bool | None = None,
    label: str = "training",
    each_step: Callable[[int, float], None] | None = None,
    each_epoch: Callable[[int, float], bool | None] | None = None,
) -> History:
    """Call a compiled training step on all batches, epoch after epoch.

    Parameters
    ----------
    function
        A compiled `pytensor.function` with updates, called as ``function(*batch)``. Its result, or
        the first of its results, is the loss.
    batches
        A list of batches, each a tuple of arrays, for all epochs the same; or a function without
        arguments that gives the batches of one epoch, for example
        ``lambda: minibatches([X, t], 32, rng, axes=[1, 0])``.
    epochs
        How many times to go through the batches, at least 1.
    steps
        In place of `epochs`: how many batches to take, at least 1. One of both must be given.
    progress
        Show a bar with loss and remaining time. Default: if the output is a terminal.
    label
        What the bar says is going on.
    each_step
        Called after every step with its number, from 1, and its loss.
    each_epoch
        Called after every whole epoch with its number, from 1, and its mean loss. True as its
        result ends training: see `symrnn.validation`.

    Returns
    -------
    History
        Losses, time, and whether it was interrupted or stopped. Ctrl-C ends the loop after the
        running step, so that no update is half done; a second one raises KeyboardInterrupt at once.

    Raises
    ------
    NonFiniteLossError
        As soon as a loss is NaN or infinite; it says at which step.
    TypeError, ValueError
        If a batch does not fit the function (see `check_batch`) or an epoch has none; if `epochs`
        or `steps` is no whole number from 1; if the function does not return a loss, or
        `each_epoch` something else than True, False or None.

    Examples
    --------
    >>> import pytensor, pytensor.tensor as pt
    >>> from symrnn.updates import gradient_descent
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
            f"batches is a {type(batches).__name__}, which can be gone through only once: give a "
            "list of batches, or a function, for example lambda: minibatches(...)"
        )
    history, started = History(), time.perf_counter()

    def done() -> bool:
        finished = len(history.loss) == steps or len(history.epoch_loss) == epochs
        return finished or history.interrupted or history.stopped

    n_steps = steps if epochs is None or callable(batches) else epochs * len(batches)
    hidden = None if progress is None else not progress  # None: hidden where nobody watches
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
            if epochs is not None:  # one epoch tells how many steps a function's batches make
                bar.total = epochs * len(history.loss) // len(history.epoch_loss)


def _check_length(epochs: Any, steps: Any) -> None:
    """Check how long training shall be."""
    if (epochs is None) == (steps is None):
        raise ValueError("give either epochs or steps")
    name, value = ("epochs", epochs) if steps is None else ("steps", steps)
    check_whole(name, value)


def _says_stop(answer: Any) -> bool:
    """Return whether `each_epoch` asked to stop; a loss, for example, is no answer."""
    if not isinstance(answer, bool | np.bool_ | None):
        raise TypeError(
            f"each_epoch returned {answer!r}, but must return True to stop, else False or None"
        )
    return bool(answer)


def minibatches(
    arrays: Sequence[Any],
    batch_size: int,
    rng: Generator | RandomState | None = None,
    axes: Sequence[int] | None = None,
) -> Iterator[Batch]:
    """Cut arrays into batches of samples, in random order if a generator is given.

    Parameters
    ----------
    arrays
        Arrays with the same samples, for example x of shape ``(time, batch, features)`` and t of
        shape ``(batch,)``.
    batch_size
        Samples in a batch, at least 1; the last batch holds what is left.
    rng
        Source of the order. Default: the order of the arrays.
    axes
        The axis of each array that counts the samples, for example ``[1, 0]``. Default: the first.

    Yields
    ------
    tuple of arrays
        One batch.

    Raises
    ------
    ValueError
        If the arrays do not have the same number of samples, or there are none.

    Examples
    --------
    >>> x, t = np.arange(10).reshape(2, 5), np.arange(5)  # (time, samples) and (samples,)
    >>> [(a.shape, b.shape) for a, b in minibatches([x, t], 2, axes=[1, 0])]
    [((2, 2), (2,)), ((2, 2), (2,)), ((2, 1), (1,))]
    """
    arrays = [np.asarray(a) for a in arrays]
    axes = [0] * len(arrays) if axes is None else axes
    if len(axes) != len(arrays):
        raise ValueError(f"axes has {len(axes)} entries for {len(arrays)} arrays: one each")
    if rng is not None and not isinstance(rng, Generator | RandomState):
        raise TypeError(f"rng is {rng!r}, but must be a generator: numpy.random.default_rng(1)")
    counts = [a.shape[axis] for a, axis in zip(arrays, axes, strict=True)]
    if len(set(counts)) != 1 or counts[0] == 0 or batch_size < 1:
        raise ValueError(
            f"the arrays have {counts} samples along axes {list(axes)} and batch_size is "
            f"{batch_size}: all must have the same number, and no number may be 0; "
            "for time-major arrays the samples are on axis 1"
        )
    order = np.arange(counts[0]) if rng is None else rng.permutation(counts[0])
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        yield tuple(a.take(chosen, axis) for a, axis in zip(arrays, axes, strict=True))


def check_batch(function: Any, batch: Batch) -> None:
    """Check arrays against the inputs of a compiled function.

    Parameters
    ----------
    function
        A compiled `pytensor.function`; any other function is not checked.
    batch
        The arrays it shall be called with.

    Raises
    ------
    TypeError
        If an array's dtype does not fit; also whole numbers where the function computes with
        floats, which as a rule are word or class numbers in the wrong place.
    ValueError
        If there is another number of arrays, an array has another number of axes, no elements, or
        holds NaN or infinity.
    """
    if not isinstance(batch, tuple | list):
        raise TypeError(
            f"a batch must be a tuple of arrays, not a {type(batch).__name__}: "
            "to train on one batch give [(X, t)], a list with one tuple in it"
        )
    if not hasattr(function, "maker"):
        return
    inputs = [i for i in function.maker.inputs if not i.implicit]
    if len(batch) != len(inputs):
        raise ValueError(
            f"a batch has {len(batch)} arrays, but the function has {len(inputs)} inputs: "
            f"{', '.join(str(i.variable.name) for i in inputs)}"
        )
    for i, given in zip(inputs, batch, strict=True):
        _check_array(i.variable, given, i.allow_downcast)


def _check_array(variable: Any, given: Any, allow_downcast: bool | None) -> None:
    """Check one array against the input variable that it is meant for."""
    name, wanted = variable.name or "an input", variable.type
    array = given if hasattr(given, "dtype") else np.asarray(given)
    if not isinstance(array, np.ndarray):  # a sparse matrix, for example: PyTensor looks itself
        return
    if array.ndim != wanted.ndim:
        raise ValueError(
            f"{name} was given with shape {array.shape}, but the function wants {wanted.ndim} axes"
        )
    is_float = wanted.dtype.startswith("float")
    if array.ndim and is_float and array.dtype.kind in "biu":
        raise TypeError(_convert(name, array, wanted))
    try:
        wanted.filter(given, allow_downcast=allow_downcast)
    except TypeError as error:
        raise TypeError(_convert(name, array, wanted)) from error
    if array.size == 0:
        raise ValueError(f"{name} was given with shape {array.shape}: it is empty")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(
            f"{name} has {np.count_nonzero(~np.isfinite(array))} values that are NaN or infinite: "
            "remove or replace them before training, also where a mask leaves them out"
        )


def _convert(name: str, array: NDArray[Any], wanted: Any) -> str:
    return (
        f"{name} was given as {array.dtype} with shape {array.shape}, but the function wants "
        f"{wanted.dtype} with shape {str(wanted.shape).replace('None', '?')}: "
        f"convert it once, with {name}.astype({wanted.dtype!r})"
    )


def _call(function: Callable[..., Any], batch: Batch) -> Any:
    """Call the function; an error tells what it was given, which a graph's own message cannot."""
    try:
        return function(*batch)
    except Exception as error:
        given = ", ".join(f"{np.shape(array)} {np.asarray(array).dtype}" for array in batch)
        error.add_note(f"The batch has arrays of these shapes and dtypes: {given}")
        raise


def scalar_loss(result: Any) -> float:
    """Return the loss in what a compiled function returned: its result, or the first of them.

    Raises
    ------
    ValueError
        If that is not one number.
    """
    if isinstance(result, list | tuple):
        result = result[0] if result else None
    if result is None or np.ndim(result):
        raise ValueError(
            "the function must return the loss, one number, as its only or first result, and "
            f"not {'nothing' if result is None else f'an array of shape {np.shape(result)}'}"
        )
    return float(result)


@contextmanager
def _ctrl_c() -> Iterator[Callable[[], bool]]:
    """Note a first Ctrl-C, so that the running step can finish; a second one raises as always.

    Where somebody else handles or ignores it, as a search does, it is left to them.
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
