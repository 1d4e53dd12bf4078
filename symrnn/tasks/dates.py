"""Dates: read one as people write it, and write it as ISO 8601 does, ``1994-09-27``."""

from collections.abc import Sequence
from datetime import date
from functools import cache
from string import Formatter

from numpy.random import Generator

from symrnn.tasks.strings import TrainAndTest, check_counts
from symrnn.text.pairs import split_pairs

FIRST, LAST = date(1900, 1, 1), date(2100, 12, 31)
"""All dates from the first to the last are written."""

SHORT = range(1969, 2069)
"""The years that may be written with two digits: each of 00 to 99 is one of them."""

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
"""How dates are written; see `write_date`. Each makes other strings than the others."""

MONTHS = [
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
]  # fmt: skip
WEEKDAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]


def dates(
    n_train: int = 45_000, n_test: int = 5_000, *, rng: Generator, formats: Sequence[str] = FORMATS
) -> TrainAndTest:
    """Make dates from 1900-01-01 to 2100-12-31 in many formats, and the same in ISO 8601.

    Each date in each format is equally likely, and no string occurs twice. A date of the test may
    occur in training in another format.

    A year of two digits is one from 1969 to 2068, as in POSIX and Python's ``%y``. Other dates are
    not written so. Thus every string means one date.

    Parameters
    ----------
    rng
        Source of random numbers.
    n_train, n_test
        How many dates, at least 1 each.
    formats
        How dates are written: see `write_date`. Default: `FORMATS`.

    Returns
    -------
    train, test : lists of (source, target)
        Strings, in random order.

    Raises
    ------
    TypeError, ValueError
        If something is not as said, there are not so many different strings, or a string was
        drawn that means two dates, as 2/10/1993 does where both months and days come first.

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
    check_counts(rng, n_train, n_test, n_dates * len(formats), what)
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
    check_counts(rng, n_train, n_test, len(found), what)
    return split_pairs(found.items(), n_test, rng=rng)


def write_date(day: date, template: str) -> str:
    """Write a date in a format.

    Parameters
    ----------
    day
        A date.
    template
        A string in which these words in braces stand for parts of a date, here of 1994-09-07:

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
        The date, in English whatever the computer's language.

    Raises
    ------
    ValueError
        If the template names something else, or leaves out the year, the month or the day; or if
        the year has two digits there, and is not from 1969 to 2068.

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
    """Check a template and return the years that can be written so."""
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
    """Write a date in a template that is checked."""
    return template.format_map(_parts(day))


def _parts(day: date) -> dict[str, str]:
    month, weekday = MONTHS[day.month - 1], WEEKDAYS[day.weekday()]
    parts = {
        "yyyy": f"{day.year:04}",
        "yy": f"{day.year % 100:02}",
        "mm": f"{day.month:02}",
        "m": str(day.month),
        "dd": f"{day.day:02}",
        "d": str(day.day),
        "th": "th" if 11 <= day.day <= 13 else {1: "st", 2: "nd", 3: "rd"}.get(day.day % 10, "th"),
    }
    for name, word in [
        ("Month", month), ("Mon", month[:3]), ("Weekday", weekday), ("Day", weekday[:3]),
    ]:  # fmt: skip
        parts |= zip(_forms(name), _forms(word), strict=True)
    return parts


def _forms(word: str) -> tuple[str, str, str]:
    return word, word.lower(), word.upper()
