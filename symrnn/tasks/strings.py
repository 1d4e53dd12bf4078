"""Tasks from string to string: decimal sums, copying, reversal, sorting.

All return pairs (source, target) for training and for a test, which have no source in common. No
string is padded: that is done where batches are made, `symrnn.text.pair_batches`.
"""

from collections.abc import Callable
from math import comb
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from symrnn._validate import check_rng, check_sizes
from symrnn.text.pairs import Pair, split_pairs

TrainAndTest = tuple[list[Pair], list[Pair]]


def decimal_addition(
    n_train: int = 45_000,
    n_test: int = 5_000,
    *,
    rng: Generator,
    digits: int = 3,
    operands: int = 2,
) -> TrainAndTest:
    """Make sums of decimal numbers, ``16+75``, and their results, ``91``.

    Each number has 1, 2, ... or `digits` digits, all equally likely, so that short ones are not
    rare. No sum occurs twice, not even with its numbers in another order: who gets those of the
    test right cannot have learnt them by heart. So there are only 55 sums of two numbers of 1
    digit, and 50,000 sums of up to 3 digits hold all of them. (To draw nearly all sums of 3
    digits, 500,500, takes half a minute.)

    Parameters
    ----------
    rng
        Source of random numbers.
    n_train, n_test
        How many sums, at least 1 each.
    digits
        The most digits of a number, at least 1.
    operands
        How many numbers are added, at least 2. `digits` times `operands` is at most 18.

    Returns
    -------
    train, test : lists of (source, target)
        Strings, in random order.

    Raises
    ------
    TypeError, ValueError
        If something is not as said, or there are not so many different sums.

    Examples
    --------
    >>> train, test = decimal_addition(n_train=3, n_test=2, rng=np.random.default_rng(1))
    >>> train
    [('679+594', '1273'), ('4+2', '6'), ('0+0', '0')]
    >>> test
    [('844+345', '1189'), ('48+88', '136')]
    """
    if digits < 1 or operands < 2 or digits * operands > 18:
        raise ValueError(
            f"digits is {digits} and operands {operands}, but there must be at least 1 digit and 2 "
            "operands, and at most 18 digits in all"
        )
    base = 10**digits
    check_counts(
        rng, n_train, n_test, comb(base + operands - 1, operands),
        f"different sums of {operands} numbers of up to {digits} digits, whatever their order",
    )  # fmt: skip
    powers = base ** np.arange(operands)

    def draw(n: int) -> NDArray[np.int64]:
        """Return n sums, the numbers of each in ascending order, as one number in base `base`."""
        length = rng.integers(1, digits + 1, (n, operands))
        lowest = np.where(length == 1, 0, 10 ** (length - 1))
        numbers = np.sort(rng.integers(lowest, 10**length), axis=1)
        return np.asarray(numbers @ powers)

    sums = _distinct(draw, n_train + n_test, rng)
    numbers = rng.permuted(sums[:, None] // powers % base, axis=1)
    sources = ["+".join(map(str, row)) for row in numbers.tolist()]
    results = map(str, numbers.sum(axis=1).tolist())
    return split_pairs(zip(sources, results, strict=True), n_test, rng=rng)


def copying(
    n_train: int = 5_000,
    n_test: int = 500,
    *,
    rng: Generator,
    symbols: str = "abcdefghij",
    lengths: tuple[int, int] = (1, 10),
) -> TrainAndTest:
    """Make strings of random symbols that are to be written again: ``cab`` -> ``cab``.

    All lengths in the range are equally likely, and so are all symbols. No string occurs twice, so
    there are fewer short strings if nearly all of them are taken.

    Parameters
    ----------
    rng
        Source of random numbers.
    n_train, n_test
        How many strings, at least 1 each.
    symbols
        Different characters, at least one.
    lengths
        The shortest and the longest, at least 1.

    Returns
    -------
    train, test : lists of (source, target)
        Strings, in random order.

    Raises
    ------
    TypeError, ValueError
        If something is not as said, or there are not so many different strings.

    Examples
    --------
    >>> copying(n_train=2, n_test=1, rng=np.random.default_rng(5), lengths=(2, 4))
    ([('ja', 'ja'), ('gia', 'gia')], [('efg', 'efg')])
    """
    return _strings(rng, n_train, n_test, symbols, lengths, lambda s: s)


def reversal(
    n_train: int = 5_000,
    n_test: int = 500,
    *,
    rng: Generator,
    symbols: str = "abcdefghij",
    lengths: tuple[int, int] = (1, 10),
) -> TrainAndTest:
    """Make strings of random symbols that are to be written from the end: ``cab`` -> ``bac``.

    Parameters, result and errors are those of `copying`.

    Examples
    --------
    >>> reversal(n_train=2, n_test=1, rng=np.random.default_rng(5), lengths=(2, 4))
    ([('ja', 'aj'), ('gia', 'aig')], [('efg', 'gfe')])
    """
    return _strings(rng, n_train, n_test, symbols, lengths, lambda s: s[::-1])


def sorting(
    n_train: int = 5_000,
    n_test: int = 500,
    *,
    rng: Generator,
    symbols: str = "abcdefghij",
    lengths: tuple[int, int] = (1, 10),
) -> TrainAndTest:
    """Make strings of random symbols that are to be sorted: ``cab`` -> ``abc``.

    The order is that of `symbols`. Parameters, result and errors are those of `copying`.

    Examples
    --------
    >>> sorting(n_train=2, n_test=1, rng=np.random.default_rng(5), lengths=(2, 4))
    ([('ja', 'aj'), ('gia', 'agi')], [('efg', 'efg')])
    """
    return _strings(
        rng, n_train, n_test, symbols, lengths, lambda s: "".join(sorted(s, key=symbols.index))
    )


def _strings(
    rng: Generator, n_train: int, n_test: int, symbols: str, lengths: tuple[int, int],
    answer: Callable[[str], str],
) -> TrainAndTest:  # fmt: skip
    shortest, longest = lengths
    if not symbols or len(set(symbols)) < len(symbols) or not 1 <= shortest <= longest:
        raise ValueError(
            f"symbols is {symbols!r} and lengths {lengths}, but there must be at least one symbol, "
            "each once, and the lengths must be the shortest, at least 1, and the longest"
        )
    n_strings = sum(len(symbols) ** k for k in range(shortest, longest + 1))
    check_counts(
        rng, n_train, n_test, n_strings,
        f"different strings of {len(symbols)} symbols and of {shortest} to {longest} characters",
    )  # fmt: skip
    characters = np.array(list(symbols))

    def draw(n: int) -> NDArray[np.str_]:
        drawn = rng.choice(characters, (n, longest))
        length = rng.integers(shortest, longest + 1, n)
        drawn[np.arange(longest) >= length[:, None]] = ""
        return drawn.view(f"U{longest}")[:, 0]  # the characters of a row as one string

    sources = _distinct(draw, n_train + n_test, rng).tolist()
    return split_pairs([(s, answer(s)) for s in sources], n_test, rng=rng)


def _distinct(draw: Callable[[int], NDArray[Any]], n: int, rng: Generator) -> NDArray[Any]:
    """Return the first n different values that `draw` draws, in random order."""
    found, size = draw(n), n
    while len(found := _each_once(found)) < n:
        size = min(2 * size, 2**21)
        found = np.concatenate([found, draw(size)])
    return rng.permutation(found[:n])


def _each_once(values: NDArray[Any]) -> NDArray[Any]:
    """Return the different values in the order in which they first occur."""
    return values[np.sort(np.unique(values, return_index=True)[1])]


def check_counts(rng: Any, n_train: Any, n_test: Any, n_distinct: int, what: str) -> None:
    """Check that so many pairs for training and test can be made.

    Raises
    ------
    TypeError, ValueError
        If `rng` is no generator, a number no whole one from 1, or there are fewer pairs.
    """
    check_rng(rng)
    check_sizes(n_train=n_train, n_test=n_test)
    if n_train + n_test > n_distinct:
        raise ValueError(
            f"n_train is {n_train} and n_test {n_test}, {n_train + n_test} in all, but there are "
            f"only {n_distinct} {what}"
        )
