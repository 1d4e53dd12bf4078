"""Warming up: calls before the first one that counts, which compile a function's numba code.

What such calls change is restored.
"""

from collections.abc import Sequence
from typing import Any


def warm_up_functions(calls: Sequence[tuple[Any, ...]], *, changed: Sequence[Any]) -> None:
    """Call functions, which compiles their numba code, and restore the values that they change.

    Each is called three times: the arrays that a first call leaves in shared variables may have
    their axes in another order in memory, for which numba compiles anew.

    Parameters
    ----------
    calls
        Tuples of a function and its arguments.
    changed
        The shared variables that the functions update: ``step.get_shared()`` for a function.

    Examples
    --------
    >>> import pytensor, pytensor.tensor as pt
    >>> total, x = pytensor.shared(0.0), pt.dscalar("x")
    >>> step = pytensor.function([x], total, updates={total: total + x}, mode="FAST_COMPILE")
    >>> warm_up_functions([(step, 2.0)], changed=[total])
    >>> float(total.get_value())
    0.0
    """
    before = [(variable, variable.get_value()) for variable in changed]
    for function, *arguments in 3 * [*calls]:
        function(*arguments)
    for variable, value in before:
        variable.set_value(value)
