from collections import Counter
from itertools import product

import numpy as np
import pytest

from symrnn.tasks.strings import copying, decimal_addition, reversal, sorting


def _rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize(("digits", "operands"), [(1, 2), (3, 2), (2, 4), (9, 2), (6, 3)])
def test_every_answer_is_the_sum_of_the_numbers(digits, operands):
    train, test = decimal_addition(40, 10, rng=_rng(), digits=digits, operands=operands)
    assert (len(train), len(test)) == (40, 10)
    for source, target in train + test:
        numbers = source.split("+")
        assert len(numbers) == operands
        assert all(number == str(int(number)) for number in numbers)  # no padding, no sign
        assert max(map(len, numbers)) <= digits
        assert target == str(sum(map(int, numbers)))


def test_no_sum_of_the_test_is_in_training_whatever_the_order_of_its_numbers():
    train, test = decimal_addition(rng=_rng())
    assert (len(train), len(test)) == (45_000, 5_000)
    sums = [tuple(sorted(source.split("+"))) for source, _ in train + test]
    assert len(set(sums)) == 50_000


def test_numbers_of_every_length_are_there_and_the_longer_one_stands_on_either_side():
    train, _ = decimal_addition(rng=_rng())
    lengths = Counter(tuple(map(len, source.split("+"))) for source, _ in train)
    assert set(lengths) == set(product([1, 2, 3], repeat=2))
    for a, b in [(1, 3), (2, 3), (1, 2)]:
        assert lengths[a, b] == pytest.approx(lengths[b, a], rel=0.15)
    assert lengths[1, 1] > 45  # nearly all of 55, of which some are for the test
    assert lengths[3, 3] == pytest.approx(45_000 * 2 / 7, rel=0.1)


def test_all_sums_can_be_asked_for_but_not_one_more():
    train, test = decimal_addition(45, 10, rng=_rng(), digits=1)
    assert {tuple(sorted(map(int, source.split("+")))) for source, _ in train + test} == {
        (a, b) for a in range(10) for b in range(a, 10)
    }
    message = "n_train is 46 and n_test 10, 56 in all, but there are only 55 different sums of 2"
    with pytest.raises(ValueError, match=message):
        decimal_addition(46, 10, rng=_rng(), digits=1)


def test_all_strings_can_be_asked_for_but_not_one_more():
    train, test = copying(10, 4, rng=_rng(), symbols="01", lengths=(1, 3))
    wanted = ["".join(s) for n in (1, 2, 3) for s in product("01", repeat=n)]
    assert sorted(train + test) == sorted((s, s) for s in wanted)
    with pytest.raises(ValueError, match="15 in all, but there are only 14 different strings of 2"):
        copying(11, 4, rng=_rng(), symbols="01", lengths=(1, 3))


@pytest.mark.parametrize(
    ("task", "answer"),
    [
        (copying, lambda s: s),
        (reversal, lambda s: "".join(reversed(s))),
        (sorting, lambda s: "".join(c * s.count(c) for c in "zebra")),
    ],
)
def test_strings_of_random_symbols_have_the_right_answers(task, answer):
    train, test = task(3000, 300, rng=_rng(), symbols="zebra", lengths=(3, 9))
    sources = [source for source, _ in train + test]
    assert len(set(sources)) == len(sources) == 3300
    assert (len(train), len(test)) == (3000, 300)
    assert all(target == answer(source) for source, target in train + test)
    lengths = Counter(map(len, sources))
    assert set(lengths) == set(range(3, 10))
    assert min(lengths[n] for n in range(6, 10)) > 400
    symbols = Counter("".join(sources))
    assert set(symbols) == set("zebra")
    assert max(symbols.values()) < 1.1 * min(symbols.values())


def test_short_strings_are_as_frequent_in_the_test_as_in_training():
    train, test = copying(1000, 1000, rng=_rng(), symbols="abcd", lengths=(1, 8))
    short = [sum(len(source) <= 3 for source, _ in part) for part in (train, test)]
    assert short[0] == pytest.approx(short[1], rel=0.4)


@pytest.mark.parametrize("task", [decimal_addition, copying, reversal, sorting])
def test_the_same_seed_makes_the_same_pairs(task):
    assert task(50, 5, rng=_rng(3)) == task(50, 5, rng=_rng(3)) != task(50, 5, rng=_rng(4))
    with pytest.raises(ValueError, match="n_train is 0, but must be a whole number, at least 1"):
        task(0, 5, rng=_rng())
    with pytest.raises(ValueError, match=r"n_test is 0\.5, but must be a whole number"):
        task(5, 0.5, rng=_rng())
    with pytest.raises(TypeError, match=r"rng is 1, but must be a generator"):
        task(50, 5, rng=1)


@pytest.mark.parametrize("options", [{"digits": 0}, {"operands": 1}, {"digits": 10}])
def test_sums_that_cannot_be_made_are_refused(options):
    with pytest.raises(ValueError, match="at least 1 digit and 2 operands, and at most 18 digits"):
        decimal_addition(1, 1, rng=_rng(), **options)


@pytest.mark.parametrize(
    "options", [{"symbols": ""}, {"symbols": "aba"}, {"lengths": (0, 3)}, {"lengths": (3, 2)}]
)
def test_strings_that_cannot_be_made_are_refused(options):
    with pytest.raises(
        ValueError,
        match=r"symbols is .* each once|lengths is \(\d, \d\), but",
    ):
        reversal(1, 1, rng=_rng(), **options)
