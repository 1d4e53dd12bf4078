"""A training of a sequence to sequence model that can be saved, resumed and used."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pytensor

from symrnn.compiling.modes import QUICK
from symrnn.models.language.settings import CELLS
from symrnn.models.seq2seq.model import FEEDINGS, Seq2Seq
from symrnn.models.seq2seq.translation import Translator
from symrnn.nn.attention import SCORES
from symrnn.text import Pair, PairVocabularies, Vocabulary, pair_batches, tokenizer_from
from symrnn.training.optimizers import Optimizer
from symrnn.training.run import TrainingRun
from symrnn.training.settings import TrainingSettings, compiled_mode


@dataclass(frozen=True, kw_only=True)
class Seq2SeqSettings(TrainingSettings):
    """What a person chooses, besides `TrainingSettings`; all of it lies in the model's file.

    Attributes
    ----------
    cell
        ``"elman"``, ``"lstm"`` or ``"gru"``.
    n_embed, n_hidden, n_layers, bidirectional, reverse, residual, peeky, feeding, dropout
        As for `Seq2Seq`.
    attention
        Also ``"none"``.
    own
        Which share of the decoder's inputs are its own draws at the end of training; it grows from
        0 along a straight line (scheduled sampling).
    by_length
        Batches of pairs of similar length, so that there is less padding.
    """

    cell: str = "lstm"
    n_embed: int = 32
    n_hidden: int = 128
    n_layers: int = 1
    bidirectional: bool = False
    reverse: bool = False
    residual: bool = False
    peeky: bool = False
    attention: str = "dot"
    feeding: str = "output"
    dropout: float = 0.0
    own: float = 0.0
    by_length: bool = False
    rate: float = 0.003
    batch_size: int = 128
    epochs: float = 20.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_choice(cell=CELLS, attention=("none", *SCORES), feeding=FEEDINGS)
        self.check_whole("n_embed", "n_hidden", "n_layers")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}, but must be in [0, 1)")
        if not 0 <= self.own <= 1:
            raise ValueError(f"own is {self.own}, but must be from 0 to 1")


class Seq2SeqRun(TrainingRun):
    """A sequence to sequence model in training: all that is saved, resumed and used.

    Training and validation data are lists of pairs, source and target.

    Parameters
    ----------
    settings
        What a person chose.
    vocabularies
        Of the pairs.
    source
        Anything else that shall be in the file, such as where the pairs lie; as JSON can hold it.

    Attributes
    ----------
    model
        The `Seq2Seq`. Its weights are those of the last step; after `use_best` those of the lowest
        validation loss.
    longest : tuple of int, or None
        How many tokens the longest source and the longest target have that it was trained on; None
        before it was.
    losses : list of dict
        As for `TrainingRun`; besides ``right``, the share of (at most 1000) validation pairs that
        are answered right, all of the answer.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from symrnn.tasks.strings import reversal
    >>> pairs, others = reversal(200, 20, rng=np.random.default_rng(1), symbols="ab", lengths=(1, 8))
    >>> settings = Seq2SeqSettings(n_embed=4, n_hidden=16, batch_size=20, epochs=1, mode="QUICK")
    >>> run = Seq2SeqRun(settings, PairVocabularies.build(pairs))
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.safetensors"
    >>> history = run.train(pairs, others, path)
    >>> run.n_done, [sorted(entry) for entry in run.losses]
    (10, [['rate', 'right', 'seconds', 'step', 'training', 'validation']])
    >>> again = Seq2SeqRun.load(path)
    >>> again.n_done, again.longest
    (10, (8, 8))
    """

    KIND = "symrnn sequence to sequence 1"
    SETTINGS = Seq2SeqSettings

    def __init__(
        self,
        settings: Seq2SeqSettings,
        vocabularies: PairVocabularies,
        source: dict[str, Any] | None = None,
    ) -> None:
        s, both = settings, vocabularies
        self.vocabularies, self.source = vocabularies, source or {}
        self.model = Seq2Seq(
            len(both.source), len(both.target), s.n_embed, s.n_hidden,
            np.random.default_rng(s.seed), s.n_layers, CELLS[s.cell], s.bidirectional, s.reverse,
            s.residual, s.peeky, None if s.attention == "none" else s.attention, s.feeding,
            s.dropout,
        )  # fmt: skip
        super().__init__(settings, self.model.params)
        self.longest: tuple[int, int] | None = None
        self.own = pytensor.shared(np.asarray(0.0, pytensor.config.floatX), name="own")
        self._loss: Any = None  # compiled when it is needed
        self._translator: Translator | None = None
        self._batches: list[tuple[Sequence[Pair], Any]] = []  # of the lists that have been given

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` has written.

        Raises
        ------
        CheckpointError
            If it is no such file, or damaged, or was written with another ``floatX``.
        """
        saved, settings = cls.read(path)
        source, target = (
            Vocabulary.from_json(json.dumps(saved.data[name]), source=str(path))
            for name in ("source_vocabulary", "target_vocabulary")
        )
        both = PairVocabularies(source, target, tokenizer_from(saved.data["tokenizer"]))
        run = cls(settings, both, saved.data["source"])
        run.longest = saved.data["longest"] and tuple(saved.data["longest"])
        run.restore(saved)
        return run

    def own_data(self) -> dict[str, Any]:
        """Return what else belongs into the file: tokeniser, vocabularies and source."""
        return {
            "tokenizer": self.vocabularies.tokenizer.settings(),
            "source_vocabulary": json.loads(self.vocabularies.source.to_json()),
            "target_vocabulary": json.loads(self.vocabularies.target.to_json()),
            "longest": self.longest and list(self.longest),
            "source": self.source,
        }

    def compile_step(self, optimizer: Optimizer, mode: Any) -> tuple[Any, list[Any]]:
        """Compile a step; it changes the generators of random numbers besides."""
        own = self.own if self.settings.own else None
        step = self.model.compile_training(optimizer, mode, own)
        return step, [*self.model.noise.updates]

    def batches(self, training: Sequence[Pair], epoch: int) -> Any:
        """Return the batches of an epoch; their order depends on the seed and its number."""
        batches = self._batches_of(training)
        batches.shuffle(np.random.default_rng([self.settings.seed, epoch]))
        self.longest = batches.longest
        self._n_batches = len(batches)
        return batches

    def _batches_of(self, pairs: Sequence[Pair]) -> Any:
        """Return the batches of a list of pairs, which is encoded once."""
        for known, batches in self._batches:
            if known is pairs:
                return batches
        s, both = self.settings, self.vocabularies
        encoded = both.encode(pairs)
        batches = pair_batches(
            *encoded, batch_size=s.batch_size, eos=both.target.eos, by_length=s.by_length
        )
        self._batches.append((pairs, batches))
        return batches

    def begin_step(self, place: int) -> None:
        """Set the share of the decoder's own draws."""
        if self.settings.own:
            done = self.n_done / self.n_steps(self._n_batches)
            self.own.set_value(np.asarray(self.settings.own * done, self.own.dtype))

    def validate(self, validation: Sequence[Pair], quick: bool = False) -> float:
        """Return the mean loss of all tokens of the answers, in nats."""
        if self._loss is None:
            self._loss = self.model.compile_loss(compiled_mode(self.settings.mode))
        total, n = 0.0, 0
        batches = self._batches_of(validation)
        for batch in batches[:1] if quick else batches:
            n_tokens = int(batch.target_mask.sum())
            total += float(self._loss(*batch)) * n_tokens
            n += n_tokens
        return total / n

    def more(self, validation: Sequence[Pair]) -> dict[str, float]:
        """Return the share of right answers."""
        return {"right": self.translator().accuracy(validation[:1000])}

    def translator(self) -> Translator:
        """Return what lets the model answer.

        It takes sources as long as the longest it was trained on, and cuts off answers at twice
        the longest there, and ten more; both can be set, until the next call. The weights are the
        model's: after `use_best` the best ones.
        """
        if self._translator is None:
            self._translator = Translator(self.model, self.vocabularies, QUICK)
        translator = self._translator
        if self.longest is not None:
            translator.longest_source, longest = self.longest
            translator.longest = 2 * longest + 10
        return translator
