import re
from collections import Counter
from datetime import date, datetime, timedelta

import numpy as np
import pytest

from symrnn.tasks.dates import FIRST, FORMATS, LAST, SHORT, dates, write_date

ALL_DAYS = [FIRST + timedelta(days=k) for k in range(73_414)]
MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec"
WEEKDAYS = [f"{name}day" for name in ["thurs", "fri", "satur", "sun", "mon", "tues", "wednes"]]
# what stands in a string, whatever the format: month, day, year and weekday, or only numbers
WORDS = re.compile(r"[a-z]+|\d+")


def _read(source):
    """Return the date that a string means and its weekday, if named; the format is not told."""
    words = [w for w in WORDS.findall(source.lower()) if w not in ("the", "of")]
    year = next((w for w in words if w.isdigit() and len(w) == 4), None)
    month = next((MONTHS.index(w[:3]) // 4 + 1 for w in words if w[:3] in MONTHS.split()), None)
    if month is not None:
        (day,) = (w for w in words if w.isdigit() and len(w) < 4)
        return int(year), month, int(day), words[0] if words[0].endswith("day") else None
    if len(words) == 1:
        return int(source[:4]), int(source[4:6]), int(source[6:]), None
    numbers = list(map(int, words))
    if "/" in source:
        month, day, y = numbers
        return (y if year else 1900 + y if y >= 69 else 2000 + y), month, day, None
    if len(words[0]) == 4:
        return *numbers, None
    return *reversed(numbers), None


def test_every_date_in_every_format_is_what_another_writer_makes_and_no_string_means_two_dates():
    assert ALL_DAYS[-1] == LAST
    seen = set()
    for day in ALL_DAYS:
        Y, y, B, b, A, a, m, d = day.strftime("%Y %y %B %b %A %a %m %d").split()
        M, D = m.lstrip("0"), d.lstrip("0")
        th = D + ("th" if d[0] == "1" else {"1": "st", "2": "nd", "3": "rd"}.get(d[1], "th"))
        wanted = [
            f"{B} {D}, {Y}".lower(), f"{B} {D}, {Y}", f"{B} {D}, {Y}".upper(),
            f"{A}, {B} {D}, {Y}".lower(), f"{A}, {D} {B} {Y}", f"{th} of {B} {Y}",
            f"{B} the {th} {Y}".lower(), f"{D} {b} {Y}", f"{a} {b} {D} {Y}",
            f"{a}, {d}-{b}-{Y}".upper(), f"{M}/{D}/{y}", f"{m}/{d}/{Y}", f"{D}.{M}.{Y}",
            f"{Y}.{m}.{d}", f"{Y}{m}{d}",
        ]  # fmt: skip
        written = write_date(day, "\n".join(FORMATS)).split("\n")  # all at once, which is faster
        assert written == wanted
        seen.update(written[:10] + written[11:] if day.year not in SHORT else written)
    assert len(seen) == 73_414 * 14 + 36_525


def test_someone_who_does_not_know_the_format_reads_the_date():
    for day in ALL_DAYS[::97]:
        for template in FORMATS:
            if "{yy}" not in template or day.year in SHORT:
                *read, weekday = _read(write_date(day, template))
                assert read == [day.year, day.month, day.day]
                days_since_thursday = (day - date(1970, 1, 1)).days % 7
                assert weekday in (None, WEEKDAYS[days_since_thursday])


@pytest.mark.parametrize(
    ("template", "form"),
    [
        ("{month} {d}, {yyyy}", "%B %d, %Y"),
        ("{weekday}, {month} {d}, {yyyy}", "%A, %B %d, %Y"),
        ("{DAY}, {dd}-{MON}-{yyyy}", "%a, %d-%b-%Y"),
        ("{m}/{d}/{yy}", "%m/%d/%y"),
        ("{yyyy}{mm}{dd}", "%Y%m%d"),
    ],
)
def test_python_reads_the_dates_and_the_years_of_two_digits_alike(template, form):
    days = [date(SHORT[0], 1, 1) + timedelta(days=97 * k) for k in range(376)]
    assert days[-1].year == SHORT[-1]
    for day in [*days, date(SHORT[-1], 12, 31)]:
        assert datetime.strptime(write_date(day, template), form).date() == day


def test_dates_look_as_people_write_them():
    written = {
        "{month} {d}, {yyyy}": "september 7, 1994",
        "{Weekday}, {d} {Month} {yyyy}": "Wednesday, 7 September 1994",
        "{DAY}, {dd}-{MON}-{yyyy}": "WED, 07-SEP-1994",
        "{WEEKDAY} {Day} {day} {mon}{mm}{dd}{yyyy}{yy}": "WEDNESDAY Wed wed sep0907199494",
        "{m}/{d}/{yy}": "9/7/94",
    }
    for template, wanted in written.items():
        assert write_date(date(1994, 9, 7), template) == wanted
    ordinals = [write_date(date(2000, 1, k), "{d}{th} {m} {yyyy}").split()[0] for k in range(1, 32)]
    assert ordinals[:4] == ["1st", "2nd", "3rd", "4th"]
    assert ordinals[10:13] == ["11th", "12th", "13th"]
    assert ordinals[20:24] == ["21st", "22nd", "23rd", "24th"]
    assert ordinals[29:] == ["30th", "31st"]
    assert {ordinals[k] for k in (*range(4, 20), *range(24, 30))} == {
        f"{k + 1}th" for k in (*range(4, 20), *range(24, 30))
    }
    assert write_date(date(2005, 3, 2), "{m}/{d}/{yy}") == "3/2/05"


def _shape(source):
    for kind, letter in [("[a-z]+", "a"), ("[A-Z]+", "A"), (r"\d+", "1")]:
        source = re.sub(kind, letter, source)
    return source


def test_no_string_of_the_test_is_in_training_and_all_formats_are_in_both():
    train, test = dates(9000, 1000, rng=np.random.default_rng(0))
    assert (len(train), len(test)) == (9000, 1000)
    assert len({source for source, _ in train + test}) == 10_000
    for source, target in train + test:
        year, month, day, _ = _read(source)
        assert target == f"{year}-{month:02}-{day:02}"
        assert FIRST <= date.fromisoformat(target) <= LAST
    shapes = [Counter(_shape(source) for source, _ in part) for part in (train, test)]
    assert shapes[0].keys() == shapes[1].keys()
    assert min(shapes[0].values()) > 250  # the format with two digits, for half of the years
    decades = Counter(target[:3] for _, target in train)
    assert len(decades) == 21
    assert min(n for decade, n in decades.items() if decade != "210") > 350


def test_the_same_seed_makes_the_same_dates():
    once, again, other = (dates(30, 3, rng=np.random.default_rng(k)) for k in (1, 1, 2))
    assert once == again != other


def test_formats_of_ones_own_are_written_until_there_is_nothing_left():
    train, _ = dates(9, 1, rng=np.random.default_rng(0), formats="{yy} {month} {dd}")
    assert all(re.fullmatch(r"\d\d [a-z]+ \d\d", source) for source, _ in train)
    both = ["{Month} {d} {yy}", "{Mon} {d} {yy}"]  # the same in May
    n = 2 * 36_525 - 3100
    with pytest.raises(ValueError, match=f"{n + 1} in all, but there are only {n} dates in the fo"):
        dates(n, 1, rng=np.random.default_rng(0), formats=both)
    with pytest.raises(ValueError, match="at least 1"):
        dates(1, 0, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="only 0 dates"):
        dates(1, 1, rng=np.random.default_rng(0), formats=[])


def test_a_string_that_would_mean_two_dates_is_refused():
    with pytest.raises(ValueError, match=r"means .* in one of the formats, and .* in '\{[dm]\}/"):
        dates(9000, 1, rng=np.random.default_rng(0), formats=["{d}/{m}/{yyyy}", "{m}/{d}/{yyyy}"])


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{year}-{m}-{d}", "names year in braces: it must be one of yyyy, yy, mm"),
        ("{m}/{d}", "must name a year, a month and a day"),
        ("{yyyy} {Month} {Weekday}", "must name a year, a month and a day"),
        ("{yyyy} {m}/{", "Single '{'"),
    ],
)
def test_formats_that_make_no_date_are_refused(template, message):
    for make in (
        lambda: write_date(date(2000, 1, 1), template),
        lambda: dates(1, 1, rng=np.random.default_rng(0), formats=[template]),
    ):
        with pytest.raises(ValueError, match=message):
            make()


@pytest.mark.parametrize("year", [1968, 2069])
def test_two_digits_are_not_for_every_year(year):
    with pytest.raises(ValueError, match="two digits are for years from 1969 to 2068"):
        write_date(date(year, 1, 1), "{m}/{d}/{yy}")
