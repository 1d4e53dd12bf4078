"""Settings of a sequence-to-sequence model and its training, see `symrnn.Seq2SeqRun`."""

from dataclasses import dataclass

from symrnn._validate import check_choice
from symrnn.models.seq2seq.recurrent import CONTEXT_TO
from symrnn.nn.attention import SCORES
from symrnn.training.settings import RecurrentSettings

ATTENTION = ("none", *SCORES)


@dataclass(frozen=True, kw_only=True)
class Seq2SeqSettings(RecurrentSettings):
    """Settings of a `symrnn.Seq2Seq` model and its training; the model's file holds them.

    Those of any training (`optimizer`, `learning_rate`, `schedule`, `clip`, `batch_size`, `epochs`,
    `patience`, `validate_every`, `seed`, `mode`) are explained in
    `symrnn.training.settings.TrainingSettings`.

    Attributes
    ----------
    cell
        ``"elman"``, ``"lstm"`` or ``"gru"``.
    n_embed
        Embedding size.
    n_hidden
        Hidden units of each layer.
    n_layers
        Number of layers of the encoder and of the decoder.
    dropout
        Fraction of features dropped in training, within [0, 1).
    bidirectional
        The encoder reads in both directions, each with half of the units.
    reverse
        The encoder reads from the end.
    residual
        A layer's input is added to its outputs, where both are equally wide.
    peeky
        The decoder sees the encoder's vector at every step.
    attention
        The score: ``"none"``, ``"dot"``, ``"scaled"``, ``"general"`` or ``"additive"``.
    context_to
        Where attention's context goes: ``"output"``, ``"input"`` or ``"both"``.
    sampling_probability
        Probability at the end of training with which a decoder input is a draw from the decoder's
        own output; it grows linearly from 0 (scheduled sampling).
    by_length
        Batches hold pairs of similar length, so that there is less padding.
    """

    n_embed: int = 32
    n_hidden: int = 128
    bidirectional: bool = False
    reverse: bool = False
    residual: bool = False
    peeky: bool = False
    attention: str = "dot"
    context_to: str = "output"
    sampling_probability: float = 0.0
    by_length: bool = False
    learning_rate: float = 0.003
    batch_size: int = 128
    epochs: float = 20.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("attention", self.attention, ATTENTION)
        check_choice("context_to", self.context_to, CONTEXT_TO)
        if not 0 <= self.sampling_probability <= 1:
            raise ValueError(
                f"sampling_probability is {self.sampling_probability}, but must be from 0 to 1"
            )
