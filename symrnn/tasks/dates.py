"""Dates: from the many ways in which people write them to ISO 8601, ``1994-09-27``."""

from collections.abc import Sequence
from datetime import date
from functools import cache
from string import Formatter

from numpy.random import Generator

from symrnn.tasks.string_pairs import TrainAndTest, check_counts
from symrnn.text.pairs import split_pairs

FIRST, LAST = date(1900, 1, 1), date(2100, 12, 31)
"""The range of dates that are drawn."""

SHORT = range(1969, 2069)
"""The years that may be written with two digits: each of 00 to 99 means one of them."""

FORMATS = (
    "{month} {d}, {yyyy}",
    "{Month} {d}, {yyyy}",
    "{MONTH} {d}, {yyyy}",
    "{weekday}, {month} {d}, {yyyy}",
    "{Weekday}, {d} {Month} {yyyy}",
    "{d}{th} of {Month} {yyyy}",
    "{month} the {d}{th} {yyyy}",
    "{d} {Mon} {yyyy}",
    "{Day} {Mon} {d} {yyyy}",
    "{DAY}, {dd}-{MON}-{yyyy}",
    "{m}/{d}/{yy}",
    "{mm}/{dd}/{yyyy}",
    "{d}.{m}.{yyyy}",
    "{yyyy}.{mm}.{dd}",
    "{yyyy}{mm}{dd}",
)
"""The formats of dates; see `write_date`. No two of them make the same string."""

MONTHS = [
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
]  # fmt: skip
WEEKDAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]


def dates(
    n_train: int = 45_000, n_test: int = 5_000, *, rng: Generator, formats: Sequence[str] = FORMATS
) -> TrainAndTest:
    """Make dates from 1900-01-01 to 2100-12-31 in many formats, and the same in ISO 8601.

    All dates in all formats are equally likely, and no string occurs twice. A date of the test may
    occur in training in another format.

    A year of two digits is one from 1969 to 2068, as in POSIX and Python's ``%y``; other years are
    never written so. Thus every string means one date.

    Parameters
    ----------
    n_train, n_test
        Number of dates for training and for the test.
    rng
        Random generator.
    formats
        Templates: see `write_date`. No string may mean two dates, as 2/10/1993 would with both
        month-first and day-first formats. Default: `FORMATS`.

    Returns
    -------
    train, test : lists of (source, target)
        Strings, in random order.

    Examples
    --------
    >>> import numpy as np
    >>> train, test = dates(n_train=6, n_test=1, rng=np.random.default_rng(1))
    >>> for source, target in train:
    ...     print(f"{target}  {source}")
    2071-08-29  20710829
    1949-03-07  7 Mar 1949
    2080-10-26  Sat Oct 26 2080
    1993-05-14  FRI, 14-MAY-1993
    1900-10-11  Thu Oct 11 1900
    1931-07-24  1931.07.24
    """
    formats = [formats] if isinstance(formats, str) else list(formats)
    n_dates = LAST.toordinal() - FIRST.toordinal() + 1
    years = [_years(template) for template in formats]
    what = f"dates in the formats {', '.join(map(repr, formats))}"
    check_counts(n_train, n_test, rng=rng, n_distinct=n_dates * len(formats), what=what)
    found: dict[str, str] = {}
    for k in rng.permutation(n_dates * len(formats)).tolist():
        day, template = date.fromordinal(FIRST.toordinal() + k // len(formats)), k % len(formats)
        if day.year not in years[template]:
            continue
        source, target = _written(day, formats[template]), day.isoformat()
        if found.setdefault(source, target) != target:
            raise ValueError(
                f"{source!r} means {found[source]} in one of the formats, and {target} in "
                f"{formats[template]!r}: every string must mean one date"
            )
        if len(found) == n_train + n_test:
            break
    check_counts(n_train, n_test, rng=rng, n_distinct=len(found), what=what)
    return split_pairs(found.items(), n_test, rng=rng)


def write_date(day: date, template: str) -> str:
    """Write a date in a format.

    Parameters
    ----------
    day
        A date.
    template
        A string that names year, month and day in braces, and perhaps more; a year of two digits
        is for 1969 to 2068 only. Of 1994-09-07 it makes:

        ===========================================  ====================================
        ``{yyyy}``, ``{yy}``                         1994, 94
        ``{Month}``, ``{month}``, ``{MONTH}``        September, september, SEPTEMBER
        ``{Mon}``, ``{mon}``, ``{MON}``              Sep, sep, SEP
        ``{mm}``, ``{m}``                            09, 9
        ``{dd}``, ``{d}``                            07, 7
        ``{th}``                                     th, after other days also st, nd, rd
        ``{Weekday}``, ``{weekday}``, ``{WEEKDAY}``  Wednesday, wednesday, WEDNESDAY
        ``{Day}``, ``{day}``, ``{DAY}``              Wed, wed, WED
        ===========================================  ====================================

    Returns
    -------
    str
        The date, in English whatever the locale.

    Examples
    --------
    >>> write_date(date(1994, 9, 7), "{weekday}, {month} {d}, {yyyy}")
    'wednesday, september 7, 1994'
    >>> for template in FORMATS:
    ...     print(write_date(date(2003, 8, 21), template))
    august 21, 2003
    August 21, 2003
    AUGUST 21, 2003
    thursday, august 21, 2003
    Thursday, 21 August 2003
    21st of August 2003
    august the 21st 2003
    21 Aug 2003
    Thu Aug 21 2003
    THU, 21-AUG-2003
    8/21/03
    08/21/2003
    21.8.2003
    2003.08.21
    20030821
    """
    if day.year not in _years(template):
        raise ValueError(
            f"{day} cannot be written as {template!r}: two digits are for years from {SHORT[0]} "
            f"to {SHORT[-1]}"
        )
    return _written(day, template)


@cache
def _years(template: str) -> range:
    """Check a template, and return the years that can be written in it."""
    names = {name for _, name, _, _ in Formatter().parse(template) if name is not None}
    wrong = names - _parts(FIRST).keys()
    if wrong:
        raise ValueError(
            f"{template!r} names {', '.join(sorted(wrong)) or 'nothing'} in braces: it must be one "
            f"of {', '.join(_parts(FIRST))}"
        )
    needed = [{"yyyy", "yy"}, {"mm", "m", *_forms("Month"), *_forms("Mon")}, {"dd", "d"}]
    if not all(names & choices for choices in needed):
        raise ValueError(
            f"{template!r} must name a year, a month and a day, as '{{d}} {{Month}} {{yyyy}}' does"
        )
    return SHORT if "yyyy" not in names else range(1, 10_000)


def _written(day: date, template: str) -> str:
    """Write a date in a checked template."""
    return template.format_map(_parts(day))


def _parts(day: date) -> dict[str, str]:
    numbers = {
        "yyyy": f"{day.year:04}",
        "yy": f"{day.year % 100:02}",
        "mm": f"{day.month:02}",
        "m": str(day.month),
        "dd": f"{day.day:02}",
        "d": str(day.day),
        "th": "th" if 11 <= day.day <= 13 else {1: "st", 2: "nd", 3: "rd"}.get(day.day % 10, "th"),
    }
    return numbers | _names(day.month, day.weekday())


@cache
def _names(month_number: int, weekday_number: int) -> dict[str, str]:
    month, weekday = MONTHS[month_number - 1], WEEKDAYS[weekday_number]
    parts: dict[str, str] = {}
    for name, word in [
        ("Month", month), ("Mon", month[:3]), ("Weekday", weekday), ("Day", weekday[:3]),
    ]:  # fmt: skip
        parts |= zip(_forms(name), _forms(word), strict=True)
    return parts


def _forms(word: str) -> tuple[str, str, str]:
    return word, word.lower(), word.upper()
