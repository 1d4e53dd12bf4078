"""A training of a language model that is saved, resumed and used.

`LanguageModel` is a graph. A training of it also has a tokenizer, a vocabulary and a text; the rest
is that of any training, see `symrnn.training.run`.
"""

import json
from collections.abc import Sequence
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from symrnn.models.language.model import LanguageModel, mean_loss
from symrnn.models.language.settings import LanguageSettings
from symrnn.nn.cells import CELLS
from symrnn.nn.initializers import normal, uniform
from symrnn.text import Tokenizer, Vocabulary, split, streams, tokenizer_from
from symrnn.training.run import Graph, TrainingRun

Tokens = NDArray[Any]


class LanguageRun(TrainingRun):
    """A language model in training: all that is saved, resumed and used.

    Parameters
    ----------
    settings
        The hyperparameters.
    tokenizer
        Splits a text into tokens.
    vocabulary
        Gives the tokens their ids.
    source
        Anything else to keep in the file, such as where the text is; as JSON can hold it.

    Attributes
    ----------
    model : LanguageModel
        Its weights are those of the last step; after `use_best` those of the lowest validation
        loss.
    losses : list of dict
        Of each validation: ``step``, ``training`` (the mean loss since the validation before),
        ``validation``, ``learning_rate`` and ``seconds``. Losses are in nats.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from symrnn.text import Characters
    >>> text = "You say goodbye and I say hello. " * 30
    >>> vocabulary = Vocabulary.build(text, specials=())
    >>> settings = LanguageSettings(n_embed=4, n_hidden=8, batch_size=2, n_steps=16, epochs=2)
    >>> run = LanguageRun(settings, Characters(), vocabulary)
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.safetensors"
    >>> training, validation = run.split(vocabulary.encode(text))
    >>> history = run.train(training, validation, path=path)
    >>> run.n_done, len(run.losses), history.interrupted
    (56, 2, False)
    >>> again = LanguageRun.load(path)
    >>> again.n_done, again.losses == run.losses, again.vocabulary == vocabulary
    (56, True, True)
    """

    KIND = "symrnn language model 2"
    SETTINGS = LanguageSettings
    model: LanguageModel

    def __init__(
        self,
        settings: LanguageSettings,
        tokenizer: Tokenizer,
        vocabulary: Vocabulary,
        *,
        source: dict[str, Any] | None = None,
    ) -> None:
        s = settings
        model = LanguageModel(
            len(vocabulary), s.n_embed, s.n_hidden, rng=np.random.default_rng(s.seed),
            n_layers=s.n_layers, cell=CELLS[s.cell], dropout=s.dropout, variational=s.variational,
            tied=s.tied, W_embed=uniform if s.tied else partial(normal, std=1.0),
        )  # fmt: skip
        super().__init__(settings, model, source=source)
        self.tokenizer, self.vocabulary = tokenizer, vocabulary
        self.carried = model.carry(s.batch_size)
        self._evaluate: Any = None  # compiled when it is needed

    @classmethod
    def from_data(cls, settings: Any, data: dict[str, Any], path: str) -> Self:
        """Make a run with its initial weights, from the `data` of a file at `path`."""
        vocabulary = Vocabulary.from_json(json.dumps(data["vocabulary"]), source=path)
        tokenizer = tokenizer_from(data["tokenizer"])
        return cls(settings, tokenizer, vocabulary, source=data["source"])

    def data(self) -> dict[str, Any]:
        """Return what else belongs in the file: tokenizer and vocabulary."""
        return {
            "tokenizer": self.tokenizer.settings(),
            "vocabulary": json.loads(self.vocabulary.to_json()),
        }

    def split(self, tokens: Tokens) -> tuple[Tokens, ...]:
        """Split a text as the settings say: training, validation and perhaps test."""
        return split(tokens, self.settings.split)

    def n_batches(self, training: Tokens, validation: Tokens) -> int:
        """Return the number of steps of an epoch; raise ValueError if a text is too short."""
        n = super().n_batches(training, validation)
        try:
            self._streams(self._for_validation(validation))
        except ValueError as error:
            raise ValueError(f"the text for validation is too short: {error}") from error
        return n

    def training_graph(self) -> Graph:
        """Return inputs, loss, and the carried states' updates."""
        return self.model.loss(self.carried, training=True)

    def batches(self, training: Tokens, epoch: int) -> Sequence[tuple[Any, ...]]:
        """Return the batches of an epoch: of all the same, in order."""
        return streams(training, batch_size=self.settings.batch_size, n_steps=self.settings.n_steps)

    def begin_step(self, position: int) -> None:
        """Reset the states of all batch streams where an epoch begins, elsewhere of a few."""
        s = self.settings
        draws = np.random.default_rng([s.seed, self.n_done]).random(s.batch_size)
        chosen = np.flatnonzero((position == 0) | (draws < s.reset))
        if chosen.size:
            for carried in self.carried:
                carried.reset(chosen)

    def validate(self, validation: Tokens, *, quick: bool = False) -> float:
        """Return the mean loss of as much of the text as the settings say."""
        return self.evaluate(self._for_validation(validation), n_batches=1 if quick else None)

    def evaluate(self, tokens: Tokens, *, n_batches: int | None = None) -> float:
        """Return the mean loss of a text, in nats per token.

        The text is read in as many batch streams as in training if it is long enough, each from a
        state of zeros. A remainder of fewer tokens than there are streams is left out.

        Parameters
        ----------
        tokens
            Token ids, more than `n_steps` of the settings.
        n_batches
            Read the first batches only. Default: all.
        """
        n_streams, batches = self._streams(tokens)
        if self._evaluate is None:
            self._states = self.model.carry(n_streams)
            self._evaluate = self.model.compile_evaluation(self._states, mode=self.settings.mode)
        for carried in self._states:
            for state in carried.state:
                n_hidden = state.get_value(borrow=True).shape[1]
                state.set_value(np.zeros((n_streams, n_hidden), dtype=state.dtype))
        return mean_loss(self._evaluate, batches if n_batches is None else batches[:n_batches])

    def _for_validation(self, tokens: Tokens) -> Tokens:
        return tokens[: self.settings.validation_tokens]

    def _streams(self, tokens: Tokens) -> tuple[int, Sequence[Any]]:
        """Return the number of batch streams, and the batches."""
        s = self.settings
        n_streams = max(1, min(s.batch_size, (len(tokens) - 1) // s.n_steps))
        return n_streams, streams(tokens, batch_size=n_streams, n_steps=s.n_steps)
