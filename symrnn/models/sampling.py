"""From a model's log probabilities to the next token: temperature, top-k and top-p."""

from numbers import Real
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

from symrnn._validate import check_rng, check_whole


def sampling_probabilities(
    log_p: ArrayLike,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> NDArray[np.float64]:
    """Return the probabilities with which the next token is sampled.

    ``q_i = p_i^(1 / temperature) / sum_j p_j^(1 / temperature)``, then truncated, first by `top_k`,
    then by `top_p`, and each time normalised.

    Parameters
    ----------
    log_p
        Log probabilities of a model, shape ``(tokens,)``; -inf for a token that must not be
        sampled.
    temperature
        1 leaves the model's distribution, less makes the probable more probable, more comes nearer
        to the uniform distribution.
    top_k
        Keeps only the k most probable tokens (Fan et al., 2018).
    top_p
        Keeps only the most probable tokens, the fewest whose sum is at least `top_p` (nucleus
        sampling: Holtzman et al., 2020).

    Returns
    -------
    array of shape (tokens,)
        float64. Of tokens with equal probabilities the one with the lower token id is kept.

    Examples
    --------
    >>> log_p = np.log([0.4, 0.3, 0.2, 0.1])
    >>> sampling_probabilities(log_p, temperature=0.5).round(3)
    array([0.533, 0.3  , 0.133, 0.033])
    >>> sampling_probabilities(log_p, top_k=2).round(3)
    array([0.571, 0.429, 0.   , 0.   ])
    >>> sampling_probabilities(log_p, top_p=0.8).round(3)
    array([0.444, 0.333, 0.222, 0.   ])
    """
    z = np.asarray(log_p, np.float64)
    check_settings(len(z), temperature, top_k, top_p)
    return probabilities(z, temperature, top_k, top_p)


def probabilities(
    log_p: NDArray[np.float64], temperature: float, top_k: int | None, top_p: float | None
) -> NDArray[np.float64]:
    """Return what `sampling_probabilities` does, without its checks: it is called each step."""
    with np.errstate(over="ignore"):  # a tiny temperature leaves only the most probable
        p: NDArray[np.float64] = np.exp((log_p - log_p.max()) / temperature)
    if top_k is not None:
        p = _only(p, largest(log_p, top_k))
    p /= p.sum()
    if top_p is not None and top_p < 1:
        order = np.argsort(-p, kind="stable")
        p = _only(p, order[: np.searchsorted(np.cumsum(p[order]), top_p) + 1])
        p /= p.sum()
    return p


def _only(p: NDArray[np.float64], kept: NDArray[np.intp]) -> NDArray[np.float64]:
    only = np.zeros_like(p)
    only[kept] = p[kept]
    return only


def draw(p: NDArray[np.float64], rng: Generator) -> int:
    """Sample a token id, i with probability p[i]."""
    sums = np.cumsum(p)
    return int(np.searchsorted(sums / sums[-1], rng.random(), side="right"))


def largest(values: NDArray[Any], k: int) -> NDArray[np.intp]:
    """Return the indices of the k largest, the largest first; of equal ones the first; no -inf."""
    finite = np.flatnonzero(values > -np.inf)
    if k < len(finite):
        bound = np.partition(values[finite], -k)[-k]
        finite = finite[values[finite] >= bound]
    return finite[np.argsort(-values[finite], kind="stable")[:k]]


def check_settings(n_tokens: int, temperature: Any, top_k: Any, top_p: Any) -> None:
    """Raise ValueError if a setting is out of range for `n_tokens` tokens."""
    if not isinstance(temperature, Real) or not 0 < temperature < np.inf:  # type: ignore[operator]
        raise ValueError(
            f"temperature is {temperature}, but must be a finite number above 0: to take the most "
            "probable token always, give rng=None"
        )
    if top_k is not None:
        check_whole("top_k", top_k, n_tokens)
    if top_p is not None and not (isinstance(top_p, Real) and 0 < top_p <= 1):  # type: ignore[operator]
        raise ValueError(f"top_p is {top_p}, but must be above 0 and at most 1; 0.9 is usual")


def check_drawing(
    rng: Any, n_tokens: int, temperature: Any, top_k: Any, top_p: Any, name: str = "rng"
) -> None:
    """Raise ValueError or TypeError for a setting out of range, or one without a generator."""
    check_settings(n_tokens, temperature, top_k, top_p)
    if rng is None and (temperature, top_k, top_p) != (1.0, None, None):
        raise ValueError(
            f"temperature is {temperature}, top_k {top_k} and top_p {top_p}, but without {name} "
            f"the most probable token is always taken: give {name}=numpy.random.default_rng(1)"
        )
    if rng is not None:
        check_rng(rng, name)
