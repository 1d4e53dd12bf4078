"""The options of commands that sample tokens: temperature, top-k, top-p and the seed."""

from typing import Any

import numpy as np

from symrnn._validate import check_whole
from symrnn.cli.options import check_numbers


def add_sampling(parser: Any, *, temperature: str) -> None:
    """Add the options; `temperature` says what happens without one."""
    parser.add_argument(
        "--temperature", type=float, metavar="T",
        help=f"sample; below 1 the probable becomes more probable, above 1 less ({temperature})",
    )  # fmt: skip
    parser.add_argument(
        "--top-k", type=int, metavar="K", help="sample from the K most probable tokens only"
    )
    parser.add_argument(
        "--top-p", type=float, metavar="P",
        help="sample from the most probable tokens only, whose probabilities sum to P",
    )  # fmt: skip
    parser.add_argument(
        "--seed", type=int, metavar="N", help="the same samples each time (default: others)"
    )


def is_sampling(options: Any) -> bool:
    """Return whether one of them is given."""
    given = (options.temperature, options.top_k, options.top_p, options.seed)
    return given != (None,) * 4


def check_sampling(options: Any) -> None:
    """Check what can be checked without a model."""
    check_numbers(("--seed", options.seed, 0))
    if options.temperature is not None and not 0 < options.temperature < np.inf:
        raise ValueError(
            f"--temperature is {options.temperature}, but must be above 0; near 0 the most "
            "probable token is always taken"
        )
    if options.top_p is not None and not 0 < options.top_p <= 1:
        raise ValueError(
            f"--top-p is {options.top_p}, but must be above 0 and at most 1; 0.9 is usual"
        )


def sampling(options: Any, *, n_tokens: int) -> dict[str, Any]:
    """Return the arguments for what generates from a vocabulary of `n_tokens`."""
    if options.top_k is not None:
        check_whole("--top-k", options.top_k, n_tokens)
    return {
        "rng": np.random.default_rng(options.seed),
        "temperature": 1.0 if options.temperature is None else options.temperature,
        "top_k": options.top_k,
        "top_p": options.top_p,
    }
