"""Settings of a language model and its training, see `symrnn.LanguageRun`."""

from dataclasses import dataclass

from symrnn._validate import check_fraction, check_sizes
from symrnn.training.settings import RecurrentSettings


@dataclass(frozen=True, kw_only=True)
class LanguageSettings(RecurrentSettings):
    """Settings of a language model and its training; the model's file holds them.

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
        Number of recurrent layers.
    dropout
        Fraction of features dropped in training, within [0, 1).
    variational
        Variational dropout: one mask for all steps of a segment, also in the product with W_h.
    tied
        Weight tying: the embedding's weights are those of the output too; `n_hidden` must be
        `n_embed`.
    n_steps
        Length of a segment: how many tokens of each batch stream a batch has, and how far back the
        gradient goes (truncated backpropagation through time).
    reset
        Probability with which each batch stream is reset to a state of zeros before each
        batch, within [0, 1). Thus the net also learns how to begin, as it must after a prompt;
        without resets it only knows carried states.
    validation_tokens
        How many tokens of the validation text to use, from its start, at most.
    split
        Fractions of the text for training, validation and, if there are three, test.
    """

    n_embed: int = 64
    n_hidden: int = 256
    dropout: float = 0.2
    variational: bool = False
    tied: bool = False
    n_steps: int = 64
    reset: float = 0.02
    validation_tokens: int = 1_000_000
    split: tuple[float, ...] = (0.9, 0.1)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sizes(n_steps=self.n_steps, validation_tokens=self.validation_tokens)
        check_fraction("reset", self.reset)
        fractions = tuple(self.split)
        if len(fractions) not in (2, 3) or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-9:
            raise ValueError(
                f"split is {fractions}, but must have two or three fractions whose sum is 1: "
                "training, validation and, if you like, test"
            )
        object.__setattr__(self, "split", fractions)  # JSON makes a list of it
