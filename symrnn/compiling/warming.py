"""Calls made before the first one that counts: they compile, and what they change is put back."""

import os
import signal
import sys
import warnings
from collections.abc import Sequence
from typing import Any


def compile_to_disk(function: Any, arguments: Sequence[Any] = ()) -> bool:
    """Call a function in a copy of this process, so that its numba code is on disk.

    The first call of a numba function compiles it, or loads its code from disk if there is any.
    What has just been compiled and the same code loaded from disk may round differently, in the
    seventh digit of float32, for LLVM has optimised it in other pieces. After this, the first call
    in this process loads it, as one in any later process will: so a training that is resumed later
    goes on with the very same numbers. If the code is there already, this takes about a second.

    Parameters
    ----------
    function
        A compiled `pytensor.function` that has not been called yet.
    arguments
        What to call it with. Its updates happen in the copy alone.

    Returns
    -------
    bool
        Whether it was done: the copy is made with ``fork``, and only on Linux. Elsewhere code must
        be compiled in one process, and loaded in the next, for the same.

    Examples
    --------
    >>> import pytensor, pytensor.tensor as pt
    >>> x = pt.dscalar("x")
    >>> double = pytensor.function([x], 2 * x, mode="FAST_COMPILE")
    >>> done = compile_to_disk(double, [1.0])
    """
    if sys.platform != "linux":
        return False
    with warnings.catch_warnings():  # Python 3.12 warns of threads, which the copy has not
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


def call_and_put_back(calls: Sequence[tuple[Any, ...]], changed: Sequence[Any]) -> None:
    """Call functions, which compiles their numba code, and put back what they have changed.

    Three times: the arrays that a first call leaves in shared variables may have their axes in
    another order in memory, for which numba compiles anew.

    Parameters
    ----------
    calls
        Tuples of a function and its arguments.
    changed
        The shared variables that the functions change.
    """
    before = [(variable, variable.get_value()) for variable in changed]
    for function, *arguments in 3 * [*calls]:
        function(*arguments)
    for variable, value in before:
        variable.set_value(value)
