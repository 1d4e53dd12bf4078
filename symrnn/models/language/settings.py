"""What a person chooses when a language model is trained, see `symrnn.models.language.run`."""

from dataclasses import dataclass
from typing import Any

from symrnn.nn.cells import ElmanCell, GRUCell, LSTMCell
from symrnn.training.settings import TrainingSettings

CELLS: dict[str, Any] = {"elman": ElmanCell, "lstm": LSTMCell, "gru": GRUCell}


@dataclass(frozen=True, kw_only=True)
class Settings(TrainingSettings):
    """What a person chooses, besides `TrainingSettings`; all of it lies in the model's file.

    Attributes
    ----------
    cell
        ``"elman"``, ``"lstm"`` or ``"gru"``.
    n_embed, n_hidden, n_layers, dropout, variational, tied
        As for `LanguageModel`.
    n_steps
        How many tokens of each row a batch has: so far back goes the gradient.
    reset
        Share of the rows that begin anew, with a state of zeros, before each batch: so the net
        learns how to begin too, as it must after a prompt.
    validation_tokens
        How many tokens of the validation text to take, from its start, at most.
    split
        Parts of the text for training, validation and, if there are three, test.
    """

    cell: str = "lstm"
    n_embed: int = 64
    n_hidden: int = 256
    n_layers: int = 1
    dropout: float = 0.2
    variational: bool = False
    tied: bool = False
    n_steps: int = 64
    reset: float = 0.02
    validation_tokens: int = 1_000_000
    split: tuple[float, ...] = (0.9, 0.1)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_choice(cell=CELLS)
        self.check_whole("n_embed", "n_hidden", "n_layers", "n_steps", "validation_tokens")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}, but must be in [0, 1)")
        parts = tuple(self.split)
        if len(parts) not in (2, 3) or min(parts) <= 0 or abs(sum(parts) - 1) > 1e-9:
            raise ValueError(
                f"split is {parts}, but must have two or three parts whose sum is 1: training, "
                "validation and, if you like, test"
            )
        if not 0 <= self.reset < 1:
            raise ValueError(f"reset is {self.reset}, but must be in [0, 1)")
        object.__setattr__(self, "split", tuple(self.split))  # JSON makes a list of it
