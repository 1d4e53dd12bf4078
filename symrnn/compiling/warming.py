"""Warming up: calls before the first one that counts, which compile a function's numba code.

What such calls change is restored.
"""

import os
import signal
import sys
import warnings
from collections.abc import Sequence
from typing import Any


def compile_to_disk(function: Any, *, arguments: Sequence[Any] = ()) -> bool:
    """Call a function in a copy of this process, so that its numba code is on disk.

    The first call of a numba function compiles it, or loads its code from disk if there is any.
    Code just compiled and the same code loaded from disk may round differently, in the seventh
    digit of float32, since LLVM has optimised it in other units. After `compile_to_disk`, the first
    call in this process loads the code, as the first one in any later process will: so a training
    resumes exactly, with the very same numbers. If the code is there already, this takes about a
    second.

    Parameters
    ----------
    function
        A compiled function that has not been called yet.
    arguments
        What to call it with. Its updates are made in the copy alone.

    Returns
    -------
    bool
        Whether it was done: the copy is made with ``fork``, and only on Linux. Elsewhere the code
        must be compiled in one process and loaded in the next, for the same effect.

    Examples
    --------
    >>> import pytensor, pytensor.tensor as pt
    >>> x = pt.dscalar("x")
    >>> double = pytensor.function([x], 2 * x, mode="FAST_COMPILE")
    >>> done = compile_to_disk(double, arguments=[1.0])
    """
    if sys.platform != "linux":
        return False
    with warnings.catch_warnings():  # Python 3.12 warns of threads, which the copy does not have
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if not pid:
        status = 1
        try:
            function(*arguments)
            status = 0
        finally:
            os._exit(status)  # no buffer is written twice, and no exit handler runs
    try:
        return os.waitpid(pid, 0)[1] == 0
    except KeyboardInterrupt:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


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
