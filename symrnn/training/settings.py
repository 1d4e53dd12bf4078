"""What a person chooses about a training of any model, and what follows from it for the rate."""

from dataclasses import dataclass
from typing import Any

import pytensor
from pytensor.compile.sharedvalue import SharedVariable

from symrnn._validate import check_positive, check_whole
from symrnn.compiling.modes import QUICK
from symrnn.training.optimizers import adam, adamw, gradient_descent, nesterov_momentum, rmsprop
from symrnn.training.schedules import cosine, linear_to_zero, warm_up

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
class TrainingSettings:
    """What a person chooses about a training; all of it lies in the model's file.

    Attributes
    ----------
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
    batch_size
        How many rows, or samples, a step takes.
    epochs
        How many times to go through the data, also 2.5.
    patience
        Stop when so many validations in a row have brought no better loss. Default: never.
    validate_every
        At most so many steps from one validation to the next. They are spread evenly over an epoch,
        the last at its end.
    seed
        Source of the first weights, of the order of the data and of dropout's masks.
    mode
        PyTensor's, ``"NUMBA"``, ``"FAST_COMPILE"`` or ``"QUICK"``. Another one rounds otherwise.
    """

    rule: str = "adam"
    rate: float = 0.005
    schedule: str = "linear"
    clip: float = 5.0
    batch_size: int = 16
    epochs: float = 10.0
    patience: int | None = None
    validate_every: int = 2000
    seed: int = 1
    mode: str = "NUMBA"

    def __post_init__(self) -> None:
        self.check_choice(rule=RULES, schedule=SCHEDULES, mode=MODES)
        self.check_whole("batch_size", "validate_every")
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}, but must be 0 or more")
        for name in ("rate", "clip", "epochs"):
            check_positive(name, getattr(self, name))

    def check_choice(self, **choices: Any) -> None:
        """Raise ValueError if a setting is none of its choices."""
        for name, possible in choices.items():
            if getattr(self, name) not in possible:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}, but must be one of {', '.join(possible)}"
                )

    def check_whole(self, *names: str) -> None:
        """Raise ValueError if a setting is no whole number from 1."""
        for name in names:
            check_whole(name, getattr(self, name))


def compiled_mode(name: str) -> Any:
    """Return what `pytensor.function` takes for a name in `MODES`."""
    return QUICK if name == "QUICK" else name


def validation_is_due(place: int, n_batches: int, every: int) -> bool:
    """Return whether to validate after so many batches of an epoch.

    Epochs have as many validations as fit `every`, at equal distances, up to one step:

    >>> [k for k in range(1, 28) if validation_is_due(k, 27, every=8)]
    [7, 14, 21, 27]
    """
    n = -(-n_batches // every)
    return place * n // n_batches > (place - 1) * n // n_batches


def compile_rate(settings: TrainingSettings, t: SharedVariable, n_steps: int) -> Any:
    """Compile the rate as a function of the step counter; None if it does not depend on it."""
    if settings.schedule not in ("linear", "cosine"):
        return None
    if settings.schedule == "linear":
        rate = linear_to_zero(t, settings.rate, n_steps=n_steps, n_last=(n_steps + 1) // 2)
    else:
        rate = cosine(t, settings.rate, n_steps=n_steps)
    rate = warm_up(t, rate, n_steps=max(1, min(100, n_steps // 20)))
    return pytensor.function([], rate, mode=QUICK)
