"""A training of a language model that can be saved, resumed and used.

`LanguageModel` is a graph. A training of it also has a tokeniser, a vocabulary and a text; the rest
is that of any training, see `symrnn.training.run`.
"""

import json
import os
from collections.abc import Sequence
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from symrnn.models.language.model import LanguageModel, mean_loss
from symrnn.models.language.settings import CELLS, Settings
from symrnn.nn.initializers import normal, uniform
from symrnn.text import Tokenizer, Vocabulary, split, streams, tokenizer_from
from symrnn.training.optimizers import Optimizer
from symrnn.training.run import TrainingRun
from symrnn.training.settings import compiled_mode

Tokens = NDArray[Any]


class LanguageRun(TrainingRun):
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

    KIND = "symrnn language model 1"
    SETTINGS = Settings

    def __init__(
        self,
        settings: Settings,
        tokenizer: Tokenizer,
        vocabulary: Vocabulary,
        source: dict[str, Any] | None = None,
    ) -> None:
        s = settings
        self.tokenizer, self.vocabulary, self.source = tokenizer, vocabulary, source or {}
        self.model = LanguageModel(
            len(vocabulary), s.n_embed, s.n_hidden, rng=np.random.default_rng(s.seed),
            n_layers=s.n_layers, cell=CELLS[s.cell], dropout=s.dropout, variational=s.variational,
            tied=s.tied, W_embed=uniform if s.tied else partial(normal, std=1.0),
        )  # fmt: skip
        super().__init__(settings, self.model.params)
        self.carried = self.model.carry(s.batch_size)
        self._evaluate: Any = None  # compiled when it is needed

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
        n = super().n_batches(training, validation)
        try:
            self._in_rows(self._for_validation(validation))
        except ValueError as error:
            raise ValueError(f"the text for validation is too short: {error}") from error
        return n

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` has written.

        Raises
        ------
        CheckpointError
            If it is no such file, or damaged, or was written with another ``floatX``.
        """
        saved, settings = cls.read(path)
        vocabulary = Vocabulary.from_json(json.dumps(saved.data["vocabulary"]), source=str(path))
        run = cls(
            settings, tokenizer_from(saved.data["tokenizer"]), vocabulary, saved.data["source"]
        )
        run.restore(saved)
        return run

    def own_data(self) -> dict[str, Any]:
        """Return what else belongs into the file: tokeniser, vocabulary and source."""
        return {
            "tokenizer": self.tokenizer.settings(),
            "vocabulary": json.loads(self.vocabulary.to_json()),
            "source": self.source,
        }

    def compile_step(self, optimizer: Optimizer, mode: Any) -> tuple[Any, list[Any]]:
        """Compile a step; it changes the carried states and dropout's generators besides."""
        step = self.model.compile_training(optimizer, self.carried, mode)
        states = [variable for carried in self.carried for variable in carried.state]
        return step, [*self.model.noise.updates, *states]

    def batches(self, training: Tokens, epoch: int) -> Sequence[tuple[Any, ...]]:
        """Return the batches of an epoch: of all the same, in order."""
        return streams(training, batch_size=self.settings.batch_size, n_steps=self.settings.n_steps)

    def begin_step(self, place: int) -> None:
        """Set the state of all rows to zeros where an epoch begins, and else that of a few."""
        s = self.settings
        draws = np.random.default_rng([s.seed, self.n_done]).random(s.batch_size)
        rows = np.flatnonzero((place == 0) | (draws < s.reset))
        if rows.size:
            for carried in self.carried:
                carried.reset(rows)

    def validate(self, validation: Tokens, quick: bool = False) -> float:
        """Return the mean loss of as much of the text as the settings say."""
        return self.evaluate(self._for_validation(validation), 1 if quick else None)

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

    def _for_validation(self, tokens: Tokens) -> Tokens:
        return tokens[: self.settings.validation_tokens]

    def _in_rows(self, tokens: Tokens) -> tuple[int, Sequence[Any]]:
        s = self.settings
        n_rows = max(1, min(s.batch_size, (len(tokens) - 1) // s.n_steps))
        return n_rows, streams(tokens, batch_size=n_rows, n_steps=s.n_steps)
