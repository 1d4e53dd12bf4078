"""A training of a sequence-to-sequence model that is saved, resumed and used."""

import json
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import pytensor

from symrnn.models.seq2seq.encoder_decoder import pair_variables
from symrnn.models.seq2seq.model import Seq2Seq
from symrnn.models.seq2seq.settings import Seq2SeqSettings
from symrnn.models.seq2seq.translation import Translator
from symrnn.nn.cells import CELLS
from symrnn.text import Pair, PairVocabularies, Vocabulary, pair_batches, tokenizer_from
from symrnn.training.run import Graph, TrainingRun

FOR_ACCURACY = 1000  # validation pairs, at most, that are answered at each validation


class Seq2SeqRun(TrainingRun):
    """A sequence-to-sequence model in training: all that is saved, resumed and used.

    Training and validation data are lists of pairs, source and target.

    Parameters
    ----------
    settings
        The hyperparameters.
    vocabularies
        Those of the pairs.
    source
        Anything else to keep in the file, such as where the pairs are; as JSON can hold it.

    Attributes
    ----------
    model : Seq2Seq
        Its weights are those of the last step; after `use_best` those of the lowest validation
        loss.
    longest : tuple of int, or None
        How many tokens the longest source and the longest target of the training have; None before
        it.
    losses : list of dict
        Of each validation: ``step``, ``training`` (the mean loss since the validation before),
        ``validation``, ``learning_rate``, ``seconds`` and ``accuracy``, the exact-match accuracy on
        at most 1000 validation pairs. Losses are in nats.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from symrnn.tasks.strings import reversal
    >>> rng = np.random.default_rng(1)
    >>> pairs, others = reversal(200, 20, rng=rng, symbols="ab", lengths=(1, 8))
    >>> settings = Seq2SeqSettings(n_embed=4, n_hidden=16, batch_size=20, epochs=1)
    >>> run = Seq2SeqRun(settings, PairVocabularies.build(pairs))
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.safetensors"
    >>> history = run.train(pairs, others, path=path)
    >>> run.n_done, 0 <= run.losses[-1]["accuracy"] <= 1
    (10, True)
    >>> again = Seq2SeqRun.load(path)
    >>> again.n_done, again.longest
    (10, (8, 8))
    """

    KIND = "symrnn sequence to sequence 2"
    SETTINGS = Seq2SeqSettings
    model: Seq2Seq

    def __init__(
        self,
        settings: Seq2SeqSettings,
        vocabularies: PairVocabularies,
        *,
        source: dict[str, Any] | None = None,
    ) -> None:
        s, both = settings, vocabularies
        model = Seq2Seq(
            len(both.source), len(both.target), s.n_embed, s.n_hidden,
            rng=np.random.default_rng(s.seed), n_layers=s.n_layers, cell=CELLS[s.cell],
            bidirectional=s.bidirectional, reverse=s.reverse, residual=s.residual, peeky=s.peeky,
            attention=None if s.attention == "none" else s.attention, context_to=s.context_to,
            dropout=s.dropout,
        )  # fmt: skip
        super().__init__(settings, model, source=source)
        self.vocabularies = vocabularies
        self.longest: tuple[int, int] | None = None
        self.sampling_probability = pytensor.shared(
            np.asarray(0.0, pytensor.config.floatX), name="sampling_probability"
        )
        self._loss: Any = None  # compiled when it is needed
        self._translator: Translator | None = None
        self._batches: list[tuple[Sequence[Pair], Any]] = []  # of the lists that have been given

    @classmethod
    def from_data(cls, settings: Any, data: dict[str, Any], path: str) -> Self:
        """Make a run with its initial weights, from the `data` of a file at `path`."""
        source, target = (
            Vocabulary.from_json(json.dumps(data[name]), source=path)
            for name in ("source_vocabulary", "target_vocabulary")
        )
        both = PairVocabularies(source, target, tokenizer_from(data["tokenizer"]))
        run = cls(settings, both, source=data["source"])
        run.longest = data["longest"] and tuple(data["longest"])
        return run

    def data(self) -> dict[str, Any]:
        """Return what else belongs in the file: tokenizer, vocabularies and lengths."""
        return {
            "tokenizer": self.vocabularies.tokenizer.settings(),
            "source_vocabulary": json.loads(self.vocabularies.source.to_json()),
            "target_vocabulary": json.loads(self.vocabularies.target.to_json()),
            "longest": self.longest and list(self.longest),
        }

    def training_graph(self) -> Graph:
        """Return inputs and loss; there are no updates besides those of the optimizer."""
        inputs = [*pair_variables()]
        p = self.sampling_probability if self.settings.sampling_probability else None
        return inputs, self.model.loss(*inputs, training=True, sampling_probability=p), {}

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

    def begin_step(self, position: int) -> None:
        """Set the probability with which the decoder's inputs are its own draws."""
        if self.settings.sampling_probability:
            done = self.n_done / self.total_steps(self._n_batches)
            p = np.asarray(self.settings.sampling_probability * done, pytensor.config.floatX)
            self.sampling_probability.set_value(p)

    def validate(self, validation: Sequence[Pair], *, quick: bool = False) -> float:
        """Return the mean loss of all tokens of the targets, in nats."""
        if self._loss is None:
            self._loss = self.model.compile_loss(mode=self.settings.mode)
        total, n = 0.0, 0
        batches = self._batches_of(validation)
        for batch in batches[:1] if quick else batches:
            n_tokens = int(batch.target_mask.sum())
            total += float(self._loss(*batch)) * n_tokens
            n += n_tokens
        return total / n

    def metrics(self, validation: Sequence[Pair]) -> dict[str, float]:
        """Return the exact-match accuracy."""
        return {"accuracy": self.translator().accuracy(validation[:FOR_ACCURACY])}

    def translator(self) -> Translator:
        """Return the `symrnn.Translator` of the model.

        It takes sources as long as the longest of the training, and cuts off answers at twice the
        longest target there, and ten more; both can be set, until the next call. The weights are
        the model's: after `use_best` the best ones.
        """
        if self._translator is None:
            self._translator = Translator(self.model, self.vocabularies)
        translator = self._translator
        if self.longest is not None:
            translator.longest_source, longest = self.longest
            translator.longest = 2 * longest + 10
        return translator
