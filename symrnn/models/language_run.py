"""A training of a language model that can be saved, resumed and used.

`LanguageModel` is a graph. A training of it also has a tokeniser, a vocabulary, an update rule with
its memory, a rate, a place in the text, and losses. `LanguageRun` holds all these, and one file
holds a `LanguageRun`.
"""

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any, Self

import numpy as np
import pytensor
from numpy.typing import NDArray

from symrnn import checkpoint
from symrnn.compiling import QUICK, compile_to_disk
from symrnn.initializers import normal, uniform
from symrnn.models.language_model import LanguageModel, mean_loss
from symrnn.models.language_settings import CELLS, RULES, Settings, compiled_mode
from symrnn.schedules import advance, cosine, linear_to_zero, step_counter, warm_up
from symrnn.text import Tokenizer, Vocabulary, split, streams, tokenizer_from
from symrnn.training import History, train
from symrnn.updates import clip_by_global_norm
from symrnn.validation import EarlyStopping, ReduceOnPlateau

KIND = "symrnn language model 1"
Tokens = NDArray[Any]


class LanguageRun:
    """A language model in training: all that is saved, resumed and used.

    Parameters
    ----------
    settings
        What a person chose.
    tokenizer, vocabulary
        What makes tokens of a text, and their numbers.
    source
        Anything else that shall be in the file, such as where the text lies; as JSON can hold it.

    Attributes
    ----------
    model
        The `LanguageModel`. Its weights are those of the last step; after `use_best` those of the
        lowest validation loss.
    losses : list of dict
        Of each validation: ``step``, ``training`` (the mean loss since the validation before),
        ``validation``, ``rate`` and ``seconds``. Losses are in nats.
    seconds : float
        Time of training and validation, compilation apart, also before a stop.
    stopped : bool
        Whether early stopping has ended it.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from symrnn.text import Characters
    >>> text = "You say goodbye and I say hello. " * 30
    >>> vocabulary = Vocabulary.build(text, specials=())
    >>> settings = Settings(n_embed=4, n_hidden=8, batch_size=2, n_steps=16, epochs=2, mode="QUICK")
    >>> run = LanguageRun(settings, Characters(), vocabulary)
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.safetensors"
    >>> parts = run.parts(vocabulary.encode(text))
    >>> history = run.train(*parts[:2], path)
    >>> run.n_done, len(run.losses), history.interrupted
    (56, 2, False)
    >>> again = LanguageRun.load(path)
    >>> again.n_done, again.losses == run.losses, again.vocabulary == vocabulary
    (56, True, True)
    """

    def __init__(
        self,
        settings: Settings,
        tokenizer: Tokenizer,
        vocabulary: Vocabulary,
        source: dict[str, Any] | None = None,
    ) -> None:
        s = self.settings = settings
        self.tokenizer, self.vocabulary, self.source = tokenizer, vocabulary, source or {}
        self.model = LanguageModel(
            len(vocabulary), s.n_embed, s.n_hidden, np.random.default_rng(s.seed), s.n_layers,
            CELLS[s.cell], s.dropout, s.variational, s.tied,
            uniform if s.tied else partial(normal, std=1.0),
        )  # fmt: skip
        self.carried = self.model.carry(s.batch_size)
        self.t = step_counter(name="step")
        self.rate = pytensor.shared(np.asarray(s.rate, pytensor.config.floatX), name="rate")
        self.stopping = EarlyStopping(self.model.params, s.patience)
        self.plateau = ReduceOnPlateau(self.rate)
        self.losses: list[dict[str, float]] = []
        self.seconds, self.stopped = 0.0, False
        self._loss_sum, self._n_losses = 0.0, 0  # since the last validation
        self._step: Any = None  # compiled when training begins
        self._scheduled: Any = None  # the rate, if it depends on the step
        self._evaluate: Any = None  # compiled when it is needed
        self._changing: list[Any] = []  # what a step changes
        self._saved: checkpoint.Checkpoint | None = None

    @property
    def n_done(self) -> int:
        """How many steps have been made."""
        return int(self.t.get_value())

    @property
    def changing(self) -> list[Any]:
        """All shared variables that training changes."""
        return [*self._changing, self.rate, *self.stopping.best]

    def parts(self, tokens: Tokens) -> tuple[Tokens, ...]:
        """Cut a corpus as the settings say: training, validation and perhaps test."""
        return split(tokens, self.settings.split)

    def n_batches(self, training: Tokens, validation: Tokens) -> int:
        """Return how many steps an epoch has.

        Raises
        ------
        ValueError
            If a text is too short.
        """
        batches = streams(training, self.settings.batch_size, self.settings.n_steps)
        try:
            self._in_rows(validation)
        except ValueError as error:
            raise ValueError(f"the text for validation is too short: {error}") from error
        return len(batches)

    def n_steps(self, n_batches: int) -> int:
        """Return how many steps the whole training has, of so many an epoch."""
        return max(1, round(self.settings.epochs * n_batches))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all to one file; see `symrnn.checkpoint.save`.

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
            "kind": KIND,
            "floatX": pytensor.config.floatX,
            "settings": asdict(self.settings),
            "tokenizer": self.tokenizer.settings(),
            "vocabulary": json.loads(self.vocabulary.to_json()),
            "source": self.source,
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

        Raises
        ------
        CheckpointError
            If it is no such file, or damaged, or was written with another ``floatX``.
        """
        saved = checkpoint.load(path)
        data = saved.data
        if not isinstance(data, dict) or data.get("kind") != KIND:
            raise checkpoint.CheckpointError(
                f"{path} is a checkpoint, but none of a language model that symrnn lm has trained"
            )
        if data["floatX"] != pytensor.config.floatX:
            raise checkpoint.CheckpointError(
                f"{path} has weights of {data['floatX']}, but pytensor.config.floatX is "
                f"{pytensor.config.floatX}: set it to {data['floatX']} first"
            )
        vocabulary = Vocabulary.from_json(json.dumps(data["vocabulary"]), str(path))
        tokenizer = tokenizer_from(data["tokenizer"])
        try:
            settings = Settings(**data["settings"])
        except TypeError as error:
            raise checkpoint.CheckpointError(
                f"{path} has settings that this version of symrnn does not know: {error}"
            ) from error
        run = cls(settings, tokenizer, vocabulary, data["source"])
        run._restore(saved)
        return run

    def _restore(self, saved: checkpoint.Checkpoint) -> None:
        """Put in place what was saved; the memory of the update rule when training begins."""
        weights = [*self.model.params, *self.stopping.best]
        saved.restore([*weights, self.rate, self.t], partly=True)
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
        training: Tokens,
        validation: Tokens,
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
            Token numbers; for a resumed run the same as before.
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
            As of `symrnn.training.train`.

        Raises
        ------
        CheckpointError
            If the file that was loaded lacks something that training needs.
        NonFiniteLossError
            As soon as the loss is NaN or infinite. The file keeps what was saved before.
        ValueError
            If a text is too short.
        """
        s = self.settings
        batches = streams(training, s.batch_size, s.n_steps)
        validation = validation[: s.validation_tokens]
        n_steps = self.n_steps(self.n_batches(training, validation))
        left = n_steps - self.n_done
        if left <= 0 or self.stopped:
            return History()
        new = self._step is None
        if new:
            self._compile()
        self._schedule(n_steps)
        if self._saved is not None:  # only now there is a rule with a memory
            self._saved.restore(self._changing, partly=True)
            self._saved = None
        if path is not None:
            self.save(path)
        if new:
            self._call_all((self._step, *batches[0]), (self.evaluate, validation, 1))
        saved_at = started = last = time.perf_counter()

        def tick() -> None:
            nonlocal last
            now = time.perf_counter()
            self.seconds += now - last
            last = now

        def validation_is_due() -> bool:
            place = self.n_done % len(batches)
            return place % s.validate_every == 0 or self.n_done == n_steps

        def until_validation() -> Any:
            """Yield batches from where the run is; an epoch begins with a state of zeros."""
            while True:
                place = self.n_done % len(batches)
                self._begin_anew(epoch=place == 0)
                if self._scheduled is not None:
                    self.rate.set_value(self._scheduled())
                yield batches[place]
                if validation_is_due() or last - started > seconds:
                    return

        def after_step(_: int, loss: float) -> None:
            nonlocal saved_at
            self._loss_sum += loss
            self._n_losses += 1
            tick()
            if each_step is not None:
                each_step(loss)
            # never between a step and its validation: a resumed run would leave that out
            if path is not None and last - saved_at > save_every and not validation_is_due():
                self.save(path)
                saved_at = last

        def after_stretch(_: int, __: float) -> bool:
            nonlocal saved_at
            if validation_is_due():
                loss = self.evaluate(validation)
                tick()
                self._note(loss)
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

    def _begin_anew(self, epoch: bool) -> None:
        """Set the state of all rows to zeros where an epoch begins, and else that of a few."""
        s = self.settings
        draws = np.random.default_rng([s.seed, self.n_done]).random(s.batch_size)
        rows = np.flatnonzero(epoch | (draws < s.reset))
        if rows.size:
            for carried in self.carried:
                carried.reset(rows)

    def _note(self, loss: float) -> None:
        """Take note of a validation loss, and do what follows from it."""
        self.losses.append(
            {
                "step": self.n_done,
                "training": self._loss_sum / self._n_losses,
                "validation": loss,
                "rate": float(self.rate.get_value()),
                "seconds": self.seconds,
            }
        )
        self._loss_sum, self._n_losses = 0.0, 0
        self.stopped = self.stopping(loss)
        if self.settings.schedule == "plateau":
            self.plateau(loss)

    def evaluate(self, tokens: Tokens, n_batches: int | None = None) -> float:
        """Return the mean loss of a text, or of its first batches, in nats per token.

        The text is read in as many rows side by side as in training if it is long enough, each
        from a state of zeros. Fewer tokens at its end than there are rows are left out.

        Raises
        ------
        ValueError
            If the text is shorter than a window.
        """
        n_rows, batches = self._in_rows(tokens)
        if self._evaluate is None:
            mode = compiled_mode(self.settings.mode)
            self._states = self.model.carry(n_rows)
            self._evaluate = self.model.compile_evaluation(self._states, mode)
        for carried in self._states:
            for state in carried.state:
                n_hidden = state.get_value(borrow=True).shape[1]
                state.set_value(np.zeros((n_rows, n_hidden), dtype=state.dtype))
        return mean_loss(self._evaluate, batches if n_batches is None else batches[:n_batches])

    def _in_rows(self, tokens: Tokens) -> tuple[int, Sequence[Any]]:
        s = self.settings
        n_rows = max(1, min(s.batch_size, (len(tokens) - 1) // s.n_steps))
        return n_rows, streams(tokens, n_rows, s.n_steps)

    def _compile(self) -> None:
        """Compile a step.

        It takes the rate from a shared variable: so its code, once on disk, is that for any
        length of training.
        """
        s = self.settings

        def rule(loss: Any, params: list[Any]) -> dict[Any, Any]:
            gradients = clip_by_global_norm(pytensor.grad(loss, params), s.clip)
            updates: dict[Any, Any] = RULES[s.rule](gradients, params, self.rate) | advance(self.t)
            self._changing = [*updates, *self.model.noise.updates]
            return updates

        self._step = self.model.compile_training(rule, self.carried, compiled_mode(s.mode))
        self._changing += [variable for carried in self.carried for variable in carried.state]

    def _schedule(self, n_steps: int) -> None:
        """Make the rate a function of the step counter, if the settings say so."""
        s = self.settings
        if s.schedule in ("linear", "cosine"):
            n_first = max(1, min(100, n_steps // 20))
            if s.schedule == "linear":
                rate = linear_to_zero(self.t, s.rate, n_steps, n_last=(n_steps + 1) // 2)
            else:
                rate = cosine(self.t, s.rate, n_steps)
            rate = warm_up(self.t, rate, n_first)
            self._scheduled = pytensor.function([], rate, mode=QUICK)

    def _call_all(self, *calls: tuple[Any, ...]) -> None:
        """Call functions, which compiles them, and put everything back as it was.

        Three times: the arrays that a first call leaves in shared variables may have their axes in
        another order in memory, for which numba compiles anew.
        """

        def call_all() -> None:
            for function, *arguments in 3 * calls:
                function(*arguments)

        if self.settings.mode == "NUMBA":
            compile_to_disk(call_all)  # the same rounding now and after any resumption
        before = [(variable, variable.get_value()) for variable in self.changing]
        call_all()
        for variable, value in before:
            variable.set_value(value)
