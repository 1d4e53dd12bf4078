"""What several figures share: colours of lines, and plain numbers on logarithmic axes."""

from typing import Any

import numpy as np
from matplotlib.axis import Axis
from matplotlib.ticker import NullFormatter

COLOURS = ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple", "tab:brown")


def line_colours(n: int) -> list[str]:
    """Return colours of `n` lines; from the seventh on they repeat."""
    return [COLOURS[i % len(COLOURS)] for i in range(n)]


def plain_numbers(axis: Axis) -> None:
    """Label a logarithmic axis with 0.01, 100, 1e+06, at whole powers of ten."""
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def spans_decades(x: Any) -> bool:
    """Whether the numbers are positive and span a factor of 10 or more."""
    return bool(np.min(x) > 0 and np.max(x) >= 10 * np.min(x))
