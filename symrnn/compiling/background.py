"""Start at once, run fast soon: a function that works while its numba form is being compiled.

Mode NUMBA makes the fastest functions, but to compile a graph for the first time takes half a
minute or more (afterwards its code is on disk). `compile_in_background` does not wait for it:
another process compiles the graph, and the function takes the code from disk when it is there.
"""

import os
import pickle
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pytensor
from pytensor.compile.mode import get_mode
from pytensor.graph.basic import Variable
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from tqdm import tqdm

from symrnn.compiling.function import function


def compile_in_background(
    inputs: Sequence[Variable],
    outputs: Any,
    updates: Mapping[Any, Any] | None = None,
    *,
    mode: str = "NUMBA",
) -> "BackgroundFunction":
    """Compile like `symrnn.function`, but return a function that is called at once and soon fast.

    The first calls run in mode QUICK, with matrix products on one processor, to leave the other to
    the compiler: a step takes several times as long as later. Meanwhile another process compiles
    the graph for `mode`. When its code is on disk, the function switches over, between two calls,
    and prints a line on stderr. Both forms work on the same shared variables, so a training simply
    continues; its numbers are the same up to rounding. If the other process fails, the function
    prints why and stays in mode QUICK. A program that ends before the switch gains nothing: for a
    training of less than a minute, `symrnn.function` takes less time in all.

    Parameters
    ----------
    inputs
        List of the graph's symbolic inputs.
    outputs
        A variable, or a list of variables, that a call returns.
    updates
        Shared variables and their next values, for example those of an optimizer. Generators and
        running statistics of the graph are updated too, as by `symrnn.function`.
    mode
        The mode to switch to, one that leaves its code on disk; mode JAX does not.

    Returns
    -------
    BackgroundFunction
        To be called with arrays, like a compiled function.

    Examples
    --------
    >>> import pytensor, pytensor.tensor as pt
    >>> total, x = pytensor.shared(0.0), pt.dscalar("x")
    >>> step = compile_in_background([x], total, {total: total + x})
    >>> step(1.0), step(2.0), total.get_value()  # doctest: +SKIP
    (array(0.), array(1.), array(3.))
    """
    return BackgroundFunction(inputs, outputs, dict(updates or {}), mode)


class BackgroundFunction:
    """What `compile_in_background` returns.

    Attributes
    ----------
    mode
        Name of the mode of the next call: ``"QUICK"``, or the one asked for once the function has
        switched.
    """

    def __init__(
        self, inputs: Sequence[Variable], outputs: Any, updates: dict[Any, Any], mode: str
    ) -> None:
        self.mode = "QUICK"
        self._graph, self._wanted = (list(inputs), outputs, updates), mode
        if "jax" in get_mode(mode).provided_optimizer.include:  # an unknown name is an error now
            raise ValueError(f"mode is {mode!r}, which leaves no code on disk: use symrnn.function")
        self._function = function(inputs, outputs, updates, mode="QUICK")
        self._compiler: subprocess.Popen[bytes] | None = None
        self._started = time.monotonic()
        self._calls = 0

    def __call__(self, *arguments: Any) -> Any:
        """Call the function in the form that there is by now."""
        if self._compiler is not None and self._compiler.poll() is not None:
            self._switch()
        result = self._function(*arguments)
        self._calls += 1
        if self._calls == 1:  # these arguments are right
            try:
                self._start(arguments)
                self._print(
                    f"mode {self._wanted} is being compiled in another process, which takes "
                    "half a minute or more; until then steps are slower"
                )
            except Exception as error:
                self._print(f"not compiled for mode {self._wanted}, continues without: {error}")
        return result

    def wait(self) -> None:
        """Wait until the other process, which the first call starts, has ended; switch over."""
        if self._compiler is not None:
            self._compiler.wait()
            self._switch()

    def _start(self, arguments: Sequence[Any]) -> None:
        """Start the other process; `arguments` are an example of the types to compile for."""
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(max(limit, 20_000))  # pickle walks down a graph
        try:
            settings = {"floatX": pytensor.config.floatX}
            # with the same modules there are the same rewrites, so the same code
            modules = [m for m in sys.modules if m.startswith("symrnn.") and "__main__" not in m]
            job = (self._graph, self._wanted, settings, arguments)
            pickled = pickle.dumps((modules, pickle.dumps(job)))
        finally:
            sys.setrecursionlimit(limit)
        folder = tempfile.TemporaryDirectory(prefix="symrnn_")
        path = Path(folder.name) / "graph.pickle"
        path.write_bytes(pickled)
        flags = [
            os.environ.get("PYTENSOR_FLAGS", ""),
            f"base_compiledir={pytensor.config.base_compiledir}",
        ]
        paths = [str(Path(p).absolute()) for p in sys.path]
        with (Path(folder.name) / "errors").open("wb") as errors:
            self._compiler = subprocess.Popen(
                [sys.executable, "-c", _OTHER_PROCESS, str(path)],
                env={
                    **os.environ,
                    "PYTENSOR_FLAGS": ",".join(filter(None, flags)),
                    "PYTHONPATH": os.pathsep.join(paths),
                    "OPENBLAS_NUM_THREADS": "1",  # leave the other processors to the training
                },
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,  # Ctrl-C is for the training
            )
        self._folder = folder.name
        # two processes and the threads of a matrix product on two processors: far slower than this
        limits = threadpool_limits(1, user_api="blas")
        self._finish = weakref.finalize(self, _stop, self._compiler, folder, limits)

    def _switch(self) -> None:
        """Take the form which the other process has compiled; its code is on disk now."""
        assert self._compiler is not None
        took = time.monotonic() - self._started
        if self._compiler.returncode == 0:
            inputs, outputs, updates = self._graph
            self._function = function(inputs, outputs, updates, mode=self._wanted)
            self.mode = self._wanted
            message = f"compiled for mode {self._wanted} in {took:.0f} s"
        else:
            errors = (Path(self._folder) / "errors").read_text(errors="replace").strip()
            reason = errors.splitlines()[-1] if errors else f"exit {self._compiler.returncode}"
            message = f"not compiled for mode {self._wanted}, continues without: {reason}"
        self._compiler = None
        self._finish()
        self._print(message)

    def _print(self, message: str) -> None:
        tqdm.write(f"call {self._calls + 1}: {message}", file=sys.stderr)


_OTHER_PROCESS = """
import pathlib, sys
from symrnn.compiling import background
sys.setrecursionlimit(20_000)
background._compile(pathlib.Path(sys.argv[1]))
"""


def _stop(process: "subprocess.Popen[bytes]", folder: Any, limits: Any) -> None:
    """End the other process if it still runs, and undo what was set up for it."""
    limits.restore_original_limits()
    if process.poll() is None:
        process.kill()
        process.wait()
    folder.cleanup()


def _compile(path: Path) -> None:
    """What the other process does: compile the graph and call it once."""
    if hasattr(os, "nice"):
        os.nice(5)  # the training goes first
    modules, job = pickle.loads(path.read_bytes())
    for module in modules:
        import_module(module)
    (inputs, outputs, updates), mode, settings, arguments = pickle.loads(job)
    with pytensor.config.change_flags(**settings):
        function(inputs, outputs, updates, mode=mode)(*arguments)
