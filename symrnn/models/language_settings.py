"""What a person chooses when a language model is trained, see `symrnn.models.language_run`."""

from dataclasses import dataclass
from typing import Any

from symrnn.cells import ElmanCell, GRUCell, LSTMCell
from symrnn.compiling import QUICK
from symrnn.parameters import check_positive, check_whole
from symrnn.updates import adam, adamw, gradient_descent, nesterov_momentum, rmsprop

CELLS: dict[str, Any] = {"elman": ElmanCell, "lstm": LSTMCell, "gru": GRUCell}
RULES: dict[str, Any] = {
    "adam": adam,
    "adamw": adamw,
    "nesterov": nesterov_momentum,
    "rmsprop": rmsprop,
    "sgd": gradient_descent,
}
SCHEDULES = ("constant", "linear", "cosine", "plateau")
MODES = ("NUMBA", "FAST_COMPILE", "QUICK")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a person chooses; all of it lies in the model's file.

    Attributes
    ----------
    cell
        ``"elman"``, ``"lstm"`` or ``"gru"``.
    n_embed, n_hidden, n_layers, dropout, variational, tied
        As for `LanguageModel`.
    rule
        ``"adam"``, ``"adamw"``, ``"nesterov"``, ``"rmsprop"`` or ``"sgd"``.
    rate
        The highest learning rate.
    schedule
        What becomes of the rate. ``"constant"``: nothing. ``"linear"`` and ``"cosine"``: it grows
        over the first steps and falls to 0 with the last, along a straight line over the second
        half, or along a cosine from the first step on. ``"plateau"``: it is divided by 4 whenever
        the validation loss does not fall.
    clip
        Largest norm of all gradients together.
    batch_size, n_steps
        How many rows of the text are read side by side, and how many tokens of each at once: so
        far back goes the gradient.
    reset
        Share of the rows that begin anew, with a state of zeros, before each batch: so the net
        learns how to begin too, as it must after a prompt.
    epochs
        How many times to go through the text, also 2.5.
    patience
        Stop when so many validations in a row have brought no better loss. Default: never.
    validate_every
        After how many steps to validate, besides at the end of each epoch and of the training.
    validation_tokens
        How many tokens of the validation text to take, from its start, at most.
    split
        Parts of the text for training, validation and, if there are three, test.
    seed
        Source of the first weights and of dropout's masks.
    mode
        PyTensor's, ``"NUMBA"``, ``"FAST_COMPILE"`` or ``"QUICK"``. Another one rounds otherwise.
    """

    cell: str = "lstm"
    n_embed: int = 64
    n_hidden: int = 256
    n_layers: int = 1
    dropout: float = 0.2
    variational: bool = False
    tied: bool = False
    rule: str = "adam"
    rate: float = 0.005
    schedule: str = "linear"
    clip: float = 5.0
    batch_size: int = 16
    n_steps: int = 64
    reset: float = 0.02
    epochs: float = 10.0
    patience: int | None = None
    validate_every: int = 2000
    validation_tokens: int = 1_000_000
    split: tuple[float, ...] = (0.9, 0.1)
    seed: int = 1
    mode: str = "NUMBA"

    def __post_init__(self) -> None:
        for name, choices in (
            ("cell", CELLS), ("rule", RULES), ("schedule", SCHEDULES), ("mode", MODES)
        ):  # fmt: skip
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}, but must be one of {', '.join(choices)}"
                )
        whole = "n_embed n_hidden n_layers batch_size n_steps validate_every validation_tokens"
        for name in whole.split():
            check_whole(name, getattr(self, name))
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}, but must be in [0, 1)")
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}, but must be 0 or more")
        parts = tuple(self.split)
        if len(parts) not in (2, 3) or min(parts) <= 0 or abs(sum(parts) - 1) > 1e-9:
            raise ValueError(
                f"split is {parts}, but must have two or three parts whose sum is 1: training, "
                "validation and, if you like, test"
            )
        check_positive("rate", self.rate)
        check_positive("clip", self.clip)
        check_positive("epochs", self.epochs)
        if not 0 <= self.reset < 1:
            raise ValueError(f"reset is {self.reset}, but must be in [0, 1)")
        object.__setattr__(self, "split", tuple(self.split))  # JSON makes a list of it


def compiled_mode(name: str) -> Any:
    """Return what `pytensor.function` takes for a name in `MODES`."""
    return QUICK if name == "QUICK" else name
