"""Settings of a saved training: its hyperparameters, and the learning rate that follows."""

from dataclasses import dataclass
from typing import Any

import pytensor
from pytensor.compile.sharedvalue import SharedVariable

from symrnn._validate import check_choice, check_fraction, check_positive, check_sizes, check_whole
from symrnn.compiling.modes import QUICK
from symrnn.nn.cells import CELLS
from symrnn.training.optimizers import adam, adamw, gradient_descent, nesterov_momentum, rmsprop
from symrnn.training.schedules import cosine, linear_to_zero, warm_up

OPTIMIZERS: dict[str, Any] = {
    optimizer.__name__: optimizer
    for optimizer in (adam, adamw, gradient_descent, nesterov_momentum, rmsprop)
}
SCHEDULES = ("constant", "linear", "cosine", "plateau")
MODES = ("QUICK", "NUMBA", "FAST_COMPILE")


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """Settings of a training; the model's file holds them.

    Attributes
    ----------
    optimizer
        ``"adam"``, ``"adamw"``, ``"gradient_descent"``, ``"nesterov_momentum"`` or ``"rmsprop"``.
    learning_rate
        The highest learning rate.
    schedule
        How the learning rate changes. ``"constant"``: not at all. ``"linear"`` and ``"cosine"``: it
        warms up over the first steps and falls to 0 with the last, linearly over the second half,
        or along a cosine from the first step on. ``"plateau"``: it is divided by 4 whenever the
        validation loss does not fall.
    clip
        Largest norm of all gradients together; larger ones are scaled down.
    batch_size
        Number of samples, or of batch streams, in a batch.
    epochs
        Passes through the data, also a fraction: 2.5.
    patience
        Stop after this many validations in a row without a lower loss. Default: never.
    validate_every
        At most this many steps from one validation to the next. They are spread evenly over an
        epoch, the last at its end.
    seed
        Seed of the initial weights, of the order of the data and of dropout's masks.
    mode
        PyTensor's mode, ``"QUICK"``, ``"NUMBA"`` or ``"FAST_COMPILE"``; see `symrnn.function`.
        Another one rounds differently.
    """

    optimizer: str = "adam"
    learning_rate: float = 0.005
    schedule: str = "linear"
    clip: float = 5.0
    batch_size: int = 16
    epochs: float = 10.0
    patience: int | None = None
    validate_every: int = 2000
    seed: int = 1
    mode: str = "QUICK"

    def __post_init__(self) -> None:
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        check_choice("schedule", self.schedule, SCHEDULES)
        check_choice("mode", self.mode, MODES)
        check_sizes(batch_size=self.batch_size, validate_every=self.validate_every)
        if self.patience is not None:
            check_whole("patience", self.patience)
        check_whole("seed", self.seed, least=0)
        for name in ("learning_rate", "clip", "epochs"):
            check_positive(name, getattr(self, name))


@dataclass(frozen=True, kw_only=True)
class RecurrentSettings(TrainingSettings):
    """Settings of a recurrent net and its training.

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
    """

    cell: str = "lstm"
    n_embed: int = 64
    n_hidden: int = 256
    n_layers: int = 1
    dropout: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("cell", self.cell, CELLS)
        check_sizes(n_embed=self.n_embed, n_hidden=self.n_hidden, n_layers=self.n_layers)
        check_fraction("dropout", self.dropout)


def validation_is_due(n_done: int, n_batches: int, *, every: int) -> bool:
    """Return whether to validate after so many batches of an epoch.

    Parameters
    ----------
    n_done
        Batches of the epoch that are done, from 1 to `n_batches`.
    n_batches
        Batches of an epoch.
    every
        At most this many batches from one validation to the next.

    Examples
    --------
    Validations are at equal distances, up to one step, the last at the end of the epoch.

    >>> [k for k in range(1, 28) if validation_is_due(k, 27, every=8)]
    [7, 14, 21, 27]
    """
    n = -(-n_batches // every)
    return n_done * n // n_batches > (n_done - 1) * n // n_batches


def compile_learning_rate(settings: TrainingSettings, t: SharedVariable, *, n_steps: int) -> Any:
    """Compile the learning rate as a function of the step counter.

    Parameters
    ----------
    settings
        With `schedule` and `learning_rate`.
    t
        The step counter.
    n_steps
        Steps of the whole training.

    Returns
    -------
    function or None
        ``() -> learning rate``; None if it does not depend on the step.
    """
    if settings.schedule not in ("linear", "cosine"):
        return None
    if settings.schedule == "linear":
        eta = linear_to_zero(t, settings.learning_rate, n_steps=n_steps, n_last=(n_steps + 1) // 2)
    else:
        eta = cosine(t, settings.learning_rate, n_steps=n_steps)
    eta = warm_up(t, eta, n_steps=max(1, min(100, n_steps // 20)))
    return pytensor.function([], eta, mode=QUICK)
