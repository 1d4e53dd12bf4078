"""A training that can be saved after any step, and resumes exactly.

A training consists of more than weights: the optimizer's state, the learning rate, a position in
the data, losses, the best weights so far. `TrainingRun` holds all of it for any model, and one file
holds a `TrainingRun`.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any, ClassVar, Self

import numpy as np
import pytensor

from symrnn.compiling.function import graph_updates
from symrnn.compiling.modes import as_mode
from symrnn.compiling.warming import warm_up_functions
from symrnn.nn.module import Module
from symrnn.training import checkpoint
from symrnn.training.callbacks import EarlyStopping, ReduceOnPlateau
from symrnn.training.clipping import clip_by_global_norm
from symrnn.training.loop import History, train
from symrnn.training.schedules import advance, step_counter
from symrnn.training.settings import (
    OPTIMIZERS,
    TrainingSettings,
    compile_learning_rate,
    validation_is_due,
)

Graph = tuple[list[Any], Any, dict[Any, Any]]


class TrainingRun:
    """A model in training: all that is saved, resumed and used.

    A subclass, for a kind of model, says what the graph of its loss is, what its batches are, and
    what a validation is: it defines the methods that raise `NotImplementedError` here. Data,
    ``training`` and ``validation``, are whatever these methods take.

    Parameters
    ----------
    settings
        The hyperparameters.
    model
        What is trained.
    source
        Anything else to keep in the file, such as where the data are; as JSON can hold it.

    Attributes
    ----------
    KIND : str
        The kind of model in a file, and the number of the file's format.
    SETTINGS : type
        The class of `settings`.
    losses : list of dict
        Of each validation: ``step``, ``training`` (the mean loss since the validation before),
        ``validation``, ``learning_rate`` and ``seconds``. Losses are in nats.
    seconds : float
        Time of training and validation, over all calls of `train`; what mode NUMBA compiles at
        the first calls is not counted.
    stopped : bool
        Whether early stopping has ended it.
    """

    KIND: ClassVar[str]
    SETTINGS: ClassVar[type[TrainingSettings]]

    def __init__(
        self, settings: Any, model: Module, *, source: dict[str, Any] | None = None
    ) -> None:
        self.settings, self.model, self.source = settings, model, source or {}
        self.t = step_counter(name="step")
        self.learning_rate = pytensor.shared(
            np.asarray(settings.learning_rate, pytensor.config.floatX), name="learning_rate"
        )
        weights = [*model.named_variables().values()]
        self.stopping = EarlyStopping(weights, patience=settings.patience)
        self.plateau = ReduceOnPlateau(self.learning_rate)
        self.losses: list[dict[str, float]] = []
        self.seconds, self.stopped = 0.0, False
        self._loss_sum, self._n_losses = 0.0, 0  # since the last validation
        self._step: Any = None  # compiled when training begins
        self._scheduled: Any = None  # the learning rate, if it depends on the step
        self._updated: list[Any] = []  # what a step changes
        self._saved: checkpoint.Checkpoint | None = None

    # what a subclass defines

    def training_graph(self) -> Graph:
        """Return the graph of a step: inputs, loss, and updates besides those of the optimizer.

        Generators of random numbers are found in the graph.
        """
        raise NotImplementedError

    def batches(self, training: Any, epoch: int) -> Sequence[tuple[Any, ...]]:
        """Return the batches of an epoch, always the same for its number; all have as many."""
        raise NotImplementedError

    def begin_step(self, position: int) -> None:
        """Prepare for the batch at this position of an epoch."""

    def validate(self, validation: Any, *, quick: bool = False) -> float:
        """Return the validation loss; a quick one is only there to be compiled."""
        raise NotImplementedError

    def metrics(self, validation: Any) -> dict[str, float]:
        """Return what else to record of a validation."""
        return {}

    def data(self) -> dict[str, Any]:
        """Return what else belongs in the file, as JSON can hold it."""
        raise NotImplementedError

    @classmethod
    def from_data(cls, settings: Any, data: dict[str, Any], path: str) -> Self:
        """Make a run with its initial weights, from the `data` of a file at `path`."""
        raise NotImplementedError

    def n_batches(self, training: Any, validation: Any) -> int:
        """Return the number of steps of an epoch; raise ValueError if there is too little data."""
        batches: Sequence[Any] = self.batches(training, 0)
        return len(batches)

    # what is the same for all

    @property
    def n_done(self) -> int:
        """Number of steps done."""
        return int(self.t.get_value())

    @property
    def changing(self) -> list[Any]:
        """All shared variables that training changes."""
        return [*self._updated, self.learning_rate, *self.stopping.best]

    def total_steps(self, n_batches: int) -> int:
        """Return the number of steps of the whole training, from that of an epoch."""
        return max(1, round(float(self.settings.epochs) * n_batches))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything to one file; see `symrnn.save`.

        Parameters
        ----------
        path
            The file. There must have been a call of `train`: before, the optimizer has no state.
        """
        if self._step is None:
            raise RuntimeError("there is nothing to save yet: call train first")
        data = {
            "kind": self.KIND,
            "floatX": pytensor.config.floatX,
            "settings": asdict(self.settings),
            "source": self.source,
            **self.data(),
            "losses": self.losses,
            "since": [self._loss_sum, self._n_losses],
            "seconds": self.seconds,
            "stopped": self.stopped,
            "stopping": self.stopping.state(),
            "plateau": self.plateau.state(),
        }
        checkpoint.save(path, self.changing, data)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` has written.

        Parameters
        ----------
        path
            The file.

        Raises
        ------
        CheckpointError
            If it is not such a file, or damaged, or was written with another ``floatX``.
        """
        saved = checkpoint.load(path)
        data = saved.data
        kind = data.get("kind") if isinstance(data, dict) else None
        if kind != cls.KIND:
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
            settings = cls.SETTINGS(**data["settings"])
        except TypeError as error:
            raise checkpoint.CheckpointError(
                f"{path} has settings that this version of symrnn does not know: {error}"
            ) from error
        run = cls.from_data(settings, data, str(path))
        run.restore(saved)
        return run

    def restore(self, saved: checkpoint.Checkpoint) -> None:
        """Restore what was saved; the optimizer's state follows when training begins."""
        variables = [self.model, *self.stopping.best, self.learning_rate, self.t]
        saved.restore(variables, partly=True)
        data, self._saved = saved.data, saved
        self.losses, self.seconds, self.stopped = data["losses"], data["seconds"], data["stopped"]
        self._loss_sum, self._n_losses = data["since"]
        self.stopping.set_state(data["stopping"])
        self.plateau.set_state(data["plateau"])

    def change(self, **settings: Any) -> None:
        """Change settings between two calls of `train`: epochs, patience, learning_rate."""
        self.settings = replace(self.settings, **settings)
        if "learning_rate" in settings:
            value = np.asarray(self.settings.learning_rate, self.learning_rate.dtype)
            self.learning_rate.set_value(value)
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
        *,
        path: str | os.PathLike[str] | None = None,
        save_every: float = 30.0,
        minutes: float = float("inf"),
        each_step: Callable[[float], None] | None = None,
        each_validation: Callable[[dict[str, float]], None] | None = None,
    ) -> History:
        """Train to the end, from where the run is; a resumed run as if it had not been stopped.

        Parameters
        ----------
        training, validation
            The data; for a resumed run the same as before.
        path
            Where to save: at the start, after each validation, every `save_every` seconds, and at
            the end, also if that is Ctrl-C. Default: nowhere.
        save_every
            Seconds from one save to the next, at least.
        minutes
            Stop, as after Ctrl-C, when training has taken this long.
        each_step
            Called after each step with its loss.
        each_validation
            Called after each validation with its entry of `losses`.

        Returns
        -------
        History
            Losses, time, and whether it was interrupted; see `symrnn.train`.

        Raises
        ------
        NonFiniteLossError
            As soon as the loss is NaN or infinite. The file keeps what was saved before.
        CheckpointError
            If the file that was loaded lacks something that training needs.
        """
        n_batches = self.n_batches(training, validation)
        n_steps = self.total_steps(n_batches)
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

        def time_is_up() -> bool:
            return last - started > 60 * minutes

        def is_due() -> bool:
            position, every = (self.n_done - 1) % n_batches + 1, self.settings.validate_every
            due = validation_is_due(position, n_batches, every=every)
            return due or self.n_done == n_steps

        def until_validation() -> Any:
            """Yield batches from where the run is."""
            now = -1
            while True:
                epoch, position = divmod(self.n_done, n_batches)
                if epoch != now:
                    now, batches = epoch, self.batches(training, epoch)
                self.begin_step(position)
                if self._scheduled is not None:
                    self.learning_rate.set_value(self._scheduled())
                yield batches[position]
                if is_due() or time_is_up():
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

        def after_batches(_: int, __: float) -> bool:
            nonlocal saved_at
            if is_due():
                loss = self.validate(validation)
                tick()
                self._record(loss, self.metrics(validation))
                tick()
                if path is not None:
                    self.save(path)
                    saved_at = last
                if each_validation is not None:
                    each_validation(self.losses[-1])
            return self.stopped or time_is_up()

        history = train(
            self._step, until_validation, steps=left, progress=False,
            each_step=after_step, each_epoch=after_batches,
        )  # fmt: skip
        if path is not None:
            self.save(path)
        return history

    def _prepare(self, n_steps: int, path: Any, batch: Any, validation: Any) -> None:
        """Compile what is not yet compiled, restore what was saved, and save for the first time."""
        is_new = self._step is None
        if is_new:
            self._compile_step()
        self._scheduled = compile_learning_rate(self.settings, self.t, n_steps=n_steps)
        if self._saved is not None:  # only now the optimizer has a state
            self._saved.restore(self._updated, partly=True)
            self._saved = None
        if path is not None:
            self.save(path)
        if is_new and self.settings.mode == "NUMBA":  # compiles at the first calls

            def validate() -> float:
                return self.validate(validation, quick=True)

            warm_up_functions([(self._step, *batch), (validate,)], changed=self.changing)

    def _compile_step(self) -> None:
        """Compile a step of training.

        It takes the learning rate from a shared variable: so its code, once on disk, is the same
        for any length of training.
        """
        s = self.settings
        inputs, loss, updates = self.training_graph()
        gradients = clip_by_global_norm(pytensor.grad(loss, self.model.params), s.clip)
        eta = self.learning_rate.get_value()  # plateaus may have divided it down to 0
        self.learning_rate.set_value(np.asarray(s.learning_rate, eta.dtype))
        optimizer = OPTIMIZERS[s.optimizer]
        updates = updates | optimizer(gradients, self.model.params, self.learning_rate)
        self.learning_rate.set_value(eta)
        updates |= advance(self.t)
        updates |= graph_updates([loss, updates])
        self._step = pytensor.function(inputs, loss, updates=updates, mode=as_mode(s.mode))
        self._updated = [*updates]

    def _record(self, loss: float, metrics: dict[str, float]) -> None:
        """Record a validation, and do what follows from its loss."""
        self.losses.append(
            {
                "step": self.n_done,
                "training": self._loss_sum / self._n_losses,
                "validation": loss,
                "learning_rate": float(self.learning_rate.get_value()),
                "seconds": self.seconds,
                **metrics,
            }
        )
        self._loss_sum, self._n_losses = 0.0, 0
        self.stopped = self.stopping(loss)
        if self.settings.schedule == "plateau":
            self.plateau(loss)
