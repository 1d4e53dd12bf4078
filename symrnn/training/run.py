"""A training that can be saved at any step, and resumed as if it had never stopped.

What a training consists of, besides the weights: an update rule with its memory, a rate, a place in
the data, losses, the best weights so far. `TrainingRun` holds all these for any model, and one file
holds a `TrainingRun`.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any, ClassVar

import numpy as np
import pytensor

from symrnn.compiling.warming import compile_to_disk, warm_up_functions
from symrnn.training import checkpoint
from symrnn.training.callbacks import EarlyStopping, ReduceOnPlateau
from symrnn.training.clipping import clip_by_global_norm
from symrnn.training.loop import History, train
from symrnn.training.optimizers import Optimizer
from symrnn.training.schedules import advance, step_counter
from symrnn.training.settings import (
    RULES,
    TrainingSettings,
    compile_rate,
    compiled_mode,
    validation_is_due,
)


class TrainingRun:
    """A model in training: all that is saved, resumed and used.

    A run of some kind of model says what its batches are, how a step is compiled, and what a
    validation is: it defines the methods that raise `NotImplementedError` here. Data, ``training``
    and ``validation``, are whatever these methods take.

    Parameters
    ----------
    settings
        What a person chose.
    params
        The weights.

    Attributes
    ----------
    KIND : str
        What kind of model a file holds.
    losses : list of dict
        Of each validation: ``step``, ``training`` (the mean loss since the validation before),
        ``validation``, ``rate`` and ``seconds``. Losses are in nats.
    seconds : float
        Time of training and validation, compilation apart, also before a stop.
    stopped : bool
        Whether early stopping has ended it.
    """

    KIND: ClassVar[str]
    SETTINGS: ClassVar[type[TrainingSettings]]

    def __init__(self, settings: Any, params: Sequence[Any]) -> None:
        self.settings, self.params = settings, list(params)
        self.t = step_counter(name="step")
        self.rate = pytensor.shared(np.asarray(settings.rate, pytensor.config.floatX), name="rate")
        self.stopping = EarlyStopping(self.params, patience=settings.patience)
        self.plateau = ReduceOnPlateau(self.rate)
        self.losses: list[dict[str, float]] = []
        self.seconds, self.stopped = 0.0, False
        self._loss_sum, self._n_losses = 0.0, 0  # since the last validation
        self._step: Any = None  # compiled when training begins
        self._scheduled: Any = None  # the rate, if it depends on the step
        self._changing: list[Any] = []  # what a step changes
        self._saved: checkpoint.Checkpoint | None = None

    # what a kind of run defines

    def compile_step(self, optimizer: Optimizer, mode: Any) -> tuple[Any, list[Any]]:
        """Compile a step for `optimizer(loss, params)`; return it, and what it changes besides."""
        raise NotImplementedError

    def batches(self, training: Any, epoch: int) -> Sequence[tuple[Any, ...]]:
        """Return the batches of an epoch, always the same for its number; all have as many."""
        raise NotImplementedError

    def begin_step(self, place: int) -> None:
        """Prepare for the batch at some place of an epoch."""

    def validate(self, validation: Any, quick: bool = False) -> float:
        """Return the validation loss; a quick one is only there to be compiled."""
        raise NotImplementedError

    def more(self, validation: Any) -> dict[str, float]:
        """Return what else to note of a validation."""
        return {}

    def own_data(self) -> dict[str, Any]:
        """Return what else belongs into the file, as JSON can hold it."""
        raise NotImplementedError

    def n_batches(self, training: Any, validation: Any) -> int:
        """Return how many steps an epoch has; raise ValueError if there is too little data."""
        batches: Sequence[Any] = self.batches(training, 0)
        return len(batches)

    # what is the same for all

    @property
    def n_done(self) -> int:
        """How many steps have been made."""
        return int(self.t.get_value())

    @property
    def changing(self) -> list[Any]:
        """All shared variables that training changes."""
        return [*self._changing, self.rate, *self.stopping.best]

    def n_steps(self, n_batches: int) -> int:
        """Return how many steps the whole training has, of so many an epoch."""
        return max(1, round(float(self.settings.epochs) * n_batches))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all to one file; see `symrnn.save`.

        Raises
        ------
        OSError
            If the file cannot be written.
        RuntimeError
            If `train` has not been called: there is no update rule with a memory yet.
        """
        if self._step is None:
            raise RuntimeError("there is nothing to save yet: call train first")
        data = {
            "kind": self.KIND,
            "floatX": pytensor.config.floatX,
            "settings": asdict(self.settings),
            **self.own_data(),
            "losses": self.losses,
            "since": [self._loss_sum, self._n_losses],
            "seconds": self.seconds,
            "stopped": self.stopped,
            "stopping": self.stopping.state(),
            "plateau": self.plateau.state(),
        }
        checkpoint.save(path, self.changing, data)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> tuple[checkpoint.Checkpoint, Any]:
        """Read a file and the settings in it.

        Raises
        ------
        CheckpointError
            If it is no such file, or damaged, or was written with another ``floatX``.
        """
        saved = checkpoint.load(path)
        data = saved.data
        if not isinstance(data, dict) or data.get("kind") != cls.KIND:
            kind = data.get("kind") if isinstance(data, dict) else None
            raise checkpoint.CheckpointError(
                f"{path} is a checkpoint, but not of the kind {cls.KIND!r}"
                + (f": it is a {kind!r}" if kind else "")
            )
        if data["floatX"] != pytensor.config.floatX:
            raise checkpoint.CheckpointError(
                f"{path} has weights of {data['floatX']}, but pytensor.config.floatX is "
                f"{pytensor.config.floatX}: set it to {data['floatX']} first"
            )
        try:
            return saved, cls.SETTINGS(**data["settings"])
        except TypeError as error:
            raise checkpoint.CheckpointError(
                f"{path} has settings that this version of symrnn does not know: {error}"
            ) from error

    def restore(self, saved: checkpoint.Checkpoint) -> None:
        """Put in place what was saved; the memory of the update rule when training begins."""
        saved.restore([*self.params, *self.stopping.best, self.rate, self.t], partly=True)
        data, self._saved = saved.data, saved
        self.losses, self.seconds, self.stopped = data["losses"], data["seconds"], data["stopped"]
        self._loss_sum, self._n_losses = data["since"]
        self.stopping.set_state(data["stopping"])
        self.plateau.set_state(data["plateau"])

    def change(self, **settings: Any) -> None:
        """Change what may change between two calls of `train`: epochs, patience, rate.

        Raises
        ------
        ValueError
            If a setting is out of range.
        """
        self.settings = replace(self.settings, **settings)
        if "rate" in settings:
            self.rate.set_value(np.asarray(self.settings.rate, self.rate.dtype))
        if "patience" in settings:
            self.stopping.patience = self.settings.patience
            self.stopped = self.stopping.is_over()

    def use_best(self) -> None:
        """Give the model the weights of the lowest validation loss, if there has been one."""
        if self.stopping.best_epoch:
            self.stopping.restore()

    def train(
        self,
        training: Any,
        validation: Any,
        path: str | os.PathLike[str] | None = None,
        save_every: float = 30.0,
        seconds: float = float("inf"),
        each_step: Callable[[float], None] | None = None,
        each_validation: Callable[[dict[str, float]], None] | None = None,
    ) -> History:
        """Train from where the run is to its end; a resumed one as if it had not been stopped.

        Parameters
        ----------
        training, validation
            The data; for a resumed run the same as before.
        path
            Where to save: at the start, after each validation, every `save_every` seconds, and at
            the end, also if that is Ctrl-C.
        seconds
            Stop, as after Ctrl-C, when training has taken so long.
        each_step, each_validation
            Called with the loss after each step, and with the entry of `losses` after each
            validation.

        Returns
        -------
        History
            As of `symrnn.train`.

        Raises
        ------
        CheckpointError
            If the file that was loaded lacks something that training needs.
        NonFiniteLossError
            As soon as the loss is NaN or infinite. The file keeps what was saved before.
        ValueError
            If there is too little data.
        """
        n_batches = self.n_batches(training, validation)
        n_steps = self.n_steps(n_batches)
        left = n_steps - self.n_done
        if left <= 0 or self.stopped:
            return History()
        self._prepare(n_steps, path, self.batches(training, 0)[0], validation)
        saved_at = started = last = time.perf_counter()

        def tick() -> None:
            nonlocal last
            now = time.perf_counter()
            self.seconds += now - last
            last = now

        def is_due() -> bool:
            place, every = (self.n_done - 1) % n_batches + 1, self.settings.validate_every
            return validation_is_due(place, n_batches, every) or self.n_done == n_steps

        def until_validation() -> Any:
            """Yield batches from where the run is."""
            now = -1
            while True:
                epoch, place = divmod(self.n_done, n_batches)
                if epoch != now:
                    now, batches = epoch, self.batches(training, epoch)
                self.begin_step(place)
                if self._scheduled is not None:
                    self.rate.set_value(self._scheduled())
                yield batches[place]
                if is_due() or last - started > seconds:
                    return

        def after_step(_: int, loss: float) -> None:
            nonlocal saved_at
            self._loss_sum += loss
            self._n_losses += 1
            tick()
            if each_step is not None:
                each_step(loss)
            # never between a step and its validation: a resumed run would leave that out
            if path is not None and last - saved_at > save_every and not is_due():
                self.save(path)
                saved_at = last

        def after_stretch(_: int, __: float) -> bool:
            nonlocal saved_at
            if is_due():
                loss = self.validate(validation)
                tick()
                self._note(loss, self.more(validation))
                tick()
                if path is not None:
                    self.save(path)
                    saved_at = last
                if each_validation is not None:
                    each_validation(self.losses[-1])
            return self.stopped or last - started > seconds

        history = train(
            self._step, until_validation, steps=left, progress=False,
            each_step=after_step, each_epoch=after_stretch,
        )  # fmt: skip
        if path is not None:
            self.save(path)
        return history

    def _prepare(self, n_steps: int, path: Any, batch: Any, validation: Any) -> None:
        """Compile what is not yet compiled, put back what was saved, and save for the first time.

        The step takes the rate from a shared variable: so its code, once on disk, is that for any
        length of training.
        """
        s, new = self.settings, self._step is None
        if new:

            def optimizer(loss: Any, params: list[Any]) -> dict[Any, Any]:
                gradients = clip_by_global_norm(pytensor.grad(loss, params), s.clip)
                updates: dict[Any, Any] = RULES[s.rule](gradients, params, self.rate)
                updates |= advance(self.t)
                self._changing = [*updates]
                return updates

            rate = self.rate.get_value()  # plateaus may have brought it to 0, which no rule takes
            self.rate.set_value(np.asarray(s.rate, rate.dtype))
            self._step, others = self.compile_step(optimizer, compiled_mode(s.mode))
            self.rate.set_value(rate)
            self._changing += others
        self._scheduled = compile_rate(s, self.t, n_steps)
        if self._saved is not None:  # only now there is a rule with a memory
            self._saved.restore(self._changing, partly=True)
            self._saved = None
        if path is not None:
            self.save(path)
        if new:
            calls = [(self._step, *batch), (self.validate, validation, True)]
            if s.mode == "NUMBA":  # the same rounding now and after any resumption
                compile_to_disk(lambda: warm_up_functions(calls, changed=self.changing))
            warm_up_functions(calls, changed=self.changing)

    def _note(self, loss: float, more: dict[str, float]) -> None:
        """Take note of a validation loss, and do what follows from it."""
        self.losses.append(
            {
                "step": self.n_done,
                "training": self._loss_sum / self._n_losses,
                "validation": loss,
                "rate": float(self.rate.get_value()),
                "seconds": self.seconds,
                **more,
            }
        )
        self._loss_sum, self._n_losses = 0.0, 0
        self.stopped = self.stopping(loss)
        if self.settings.schedule == "plateau":
            self.plateau(loss)
