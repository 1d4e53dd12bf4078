"""Tasks from string to string: decimal sums, copying, reversal, sorting.

All return pairs (source, target) for training and for a test, which have no source in common. No
string is padded: that is done when batches are made, by `symrnn.text.pair_batches`.
"""

from collections.abc import Callable
from math import comb
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from symrnn._validate import check_bounds
from symrnn.tasks.string_pairs import TrainAndTest, check_counts
from symrnn.text.pairs import split_pairs


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
    rare. No sum occurs twice, not even with its numbers in another order: whoever gets those of the
    test right cannot have memorised them. So there are only 55 sums of two numbers of 1 digit, and
    50,000 sums of up to 3 digits hold all of them. (To draw nearly all sums of 3 digits, 500,500,
    takes half a minute.)

    Parameters
    ----------
    n_train, n_test
        Number of sums for training and for the test.
    rng
        Random generator.
    digits
        The largest number of digits of a number.
    operands
        How many numbers are added, at least 2. `digits` times `operands` is at most 18.

    Returns
    -------
    train, test : lists of (source, target)
        Strings, in random order.

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
        n_train, n_test, rng=rng, n_distinct=comb(base + operands - 1, operands),
        what=f"different sums of {operands} numbers of up to {digits} digits, whatever their order",
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
    """Make strings of random symbols that are to be copied: ``cab`` -> ``cab``.

    All lengths in the range are equally likely, and so are all symbols. No string occurs twice, so
    short ones become rarer when nearly all of them are used.

    Parameters
    ----------
    n_train, n_test
        Number of strings for training and for the test.
    rng
        Random generator.
    symbols
        Different characters, at least one.
    lengths
        The smallest and the largest length, at least 1.

    Returns
    -------
    train, test : lists of (source, target)
        Strings, in random order.

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
    """Make strings of random symbols that are to be reversed: ``cab`` -> ``bac``.

    All lengths in the range are equally likely, and so are all symbols. No string occurs twice, so
    short ones become rarer when nearly all of them are used.

    Parameters
    ----------
    n_train, n_test
        Number of strings for training and for the test.
    rng
        Random generator.
    symbols
        Different characters, at least one.
    lengths
        The smallest and the largest length, at least 1.

    Returns
    -------
    train, test : lists of (source, target)
        Strings, in random order.

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

    The order is that of `symbols`. All lengths in the range are equally likely, and so are all
    symbols. No string occurs twice, so short ones become rarer when nearly all of them are used.

    Parameters
    ----------
    n_train, n_test
        Number of strings for training and for the test.
    rng
        Random generator.
    symbols
        Different characters, at least one.
    lengths
        The smallest and the largest length, at least 1.

    Returns
    -------
    train, test : lists of (source, target)
        Strings, in random order.

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
    check_bounds("lengths", lengths)
    shortest, longest = lengths
    if not symbols or len(set(symbols)) < len(symbols):
        raise ValueError(
            f"symbols is {symbols!r}, but must be at least one character, each once: 'abc'"
        )
    n_strings = sum(len(symbols) ** k for k in range(shortest, longest + 1))
    check_counts(
        n_train, n_test, rng=rng, n_distinct=n_strings,
        what=f"different strings of {len(symbols)} symbols and of {shortest} to {longest} "
        "characters",
    )  # fmt: skip
    characters = np.array(list(symbols))

    def draw(n: int) -> NDArray[np.str_]:
        drawn = rng.choice(characters, (n, longest))
        length = rng.integers(shortest, longest + 1, n)
        drawn[np.arange(longest) >= length[:, None]] = ""
        return drawn.view(f"U{longest}")[:, 0]  # join the characters of each row

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
