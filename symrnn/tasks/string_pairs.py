"""What the tasks from string to string share."""

from typing import Any

from symrnn._validate import check_rng, check_sizes
from symrnn.text.pairs import Pair

TrainAndTest = tuple[list[Pair], list[Pair]]


def check_counts(n_train: Any, n_test: Any, *, rng: Any, n_distinct: int, what: str) -> None:
    """Raise an error unless there are enough different pairs; `what` names them."""
    check_rng(rng)
    check_sizes(n_train=n_train, n_test=n_test)
    if n_train + n_test > n_distinct:
        raise ValueError(
            f"n_train is {n_train} and n_test {n_test}, {n_train + n_test} in all, but there are "
            f"only {n_distinct} {what}"
        )
