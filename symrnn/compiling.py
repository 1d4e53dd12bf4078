"""Start at once, run fast soon: a function that steps while its numba form is being compiled.

Mode NUMBA makes the fastest functions, but the first time a graph is compiled takes half a minute
or more (afterwards its code lies on disk). `compile_in_background` does not wait for it;
`compile_to_disk` does, and makes numbers the same the first time and later. And two modes, `QUICK`
and `FAST`, for functions that are not worth such a wait.
"""

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
import warnings
import weakref
from collections.abc import Mapping, Sequence
from copy import copy
from functools import reduce
from pathlib import Path
from typing import Any

import pytensor
import pytensor.tensor as pt
from pytensor.compile.builders import OpFromGraph
from pytensor.compile.mode import Mode, get_mode, optdb
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.rewriting.basic import dfs_rewriter, node_rewriter
from pytensor.graph.rewriting.db import RewriteDatabaseQuery
from pytensor.link.vm import VMLinker
from pytensor.scalar.basic import Add, Mul, Second
from pytensor.scalar.math import Sigmoid, Softplus
from pytensor.scan.op import Scan
from pytensor.tensor.elemwise import Elemwise
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from tqdm import tqdm

QUICK = Mode(
    VMLinker(use_cloop=False, c_thunks=False),
    RewriteDatabaseQuery(
        include=["fast_compile", "py_only", "symrnn_quick"],
        exclude=["ShapeOpt", "local_shape_to_shape_i"],  # takes longest of all
    ),
)
"""A mode that compiles nothing: each operation is a call of NumPy, inside scans too.

(FAST_COMPILE calls the C compiler for the inside of each scan, for half a second or more.)
"""


@node_rewriter([Elemwise])
def sigmoid_by_tanh(fgraph: Any, node: Apply[Any]) -> Any:
    """``sigmoid(x) = 1/2 + 1/2 tanh(x / 2)``: NumPy has a tanh."""
    if not isinstance(node.op.scalar_op, Sigmoid):
        return False
    half = pt.constant(0.5, dtype=node.outputs[0].dtype)
    return [half + half * pt.tanh(half * node.inputs[0])]


@node_rewriter([Elemwise])
def softplus_by_log1p(fgraph: Any, node: Apply[Any]) -> Any:
    """``softplus(x) = max(x, 0) + log(1 + exp(-|x|))``: NumPy has no softplus."""
    if not isinstance(node.op.scalar_op, Softplus):
        return False
    (x,) = node.inputs
    return [pt.maximum(x, 0) + pt.log1p(pt.exp(-abs(x)))]


@node_rewriter([Elemwise])
def two_at_a_time(fgraph: Any, node: Apply[Any]) -> Any:
    """``a * b * c`` as ``(a * b) * c``: NumPy multiplies and adds two arrays at once, not three."""
    if not isinstance(node.op.scalar_op, Add | Mul) or len(node.inputs) < 3:
        return False
    return [reduce(node.op, node.inputs)]


@node_rewriter([Elemwise])
def fill_by_alloc(fgraph: Any, node: Apply[Any]) -> Any:
    """``fill(a, b)``, b in the shape of both, as a new array: NumPy has no function for it.

    Gradients are full of it, and would call Python for each element.
    """
    if not isinstance(node.op.scalar_op, Second):
        return False
    a, b = node.inputs
    ones = a.type.broadcastable
    shape = [b.shape[k] if ones[k] else a.shape[k] for k in range(a.ndim)]
    return [pt.specify_shape(pt.alloc(b, *shape), node.outputs[0].type.shape)]


@node_rewriter([OpFromGraph])
def marked_inline(fgraph: Any, node: Apply[Any]) -> Any:
    """Have a graph in a node, such as a softmax, written out: by itself it would be compiled."""
    if node.op.is_inline:
        return False
    op = copy(node.op)
    op.is_inline = True
    return Apply(op, node.inputs, [v.type() for v in node.outputs]).outputs


@node_rewriter([Scan])
def quick_inside(fgraph: Any, node: Apply[Any]) -> Any:
    """Use mode QUICK inside a scan too, where a scan left to itself takes the C compiler."""
    op = node.op
    if op.mode is QUICK:
        return False
    quick = op.clone()
    quick.mode = QUICK
    return quick(*node.inputs, return_list=True)


# before the place (-0.01) where PyTensor writes out what is marked so
optdb.register("symrnn_inline", dfs_rewriter(marked_inline), "symrnn_quick", position=-0.015)
optdb.register("symrnn_sigmoid", dfs_rewriter(sigmoid_by_tanh), "symrnn_quick", position=0.5)
optdb.register("symrnn_softplus", dfs_rewriter(softplus_by_log1p), "symrnn_quick", position=0.5)
optdb.register("symrnn_fill", dfs_rewriter(fill_by_alloc), "symrnn_quick", position=0.6)
optdb.register("symrnn_two_at_a_time", dfs_rewriter(two_at_a_time), "symrnn_quick", position=199)
optdb.register("symrnn_quick_inside", dfs_rewriter(quick_inside), "symrnn_quick", position=200)

FAST = get_mode("FAST_COMPILE").including("symrnn_two_at_a_time")
"""FAST_COMPILE, with sums and products of more than two arrays taken two at a time.

NumPy has no product of three arrays, so FAST_COMPILE calls Python for each of their elements.
Normalisations have such products in their gradients, and train in this mode several times as fast.
"""


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


def compile_in_background(
    inputs: Sequence[Variable],
    outputs: Any,
    updates: Mapping[Any, Any] | None = None,
    mode: str = "NUMBA",
) -> "BackgroundFunction":
    """Compile like `pytensor.function`, but return a function that can be called right away.

    The first calls run in mode `QUICK`, and matrix products on one processor, to leave the other to
    the compiler: a step takes several times as long as later. Meanwhile another process compiles
    the graph for `mode` and leaves the code on disk. When it is there, the function switches over,
    between two calls, and says so in a line on stderr. Both forms work on the same shared
    variables, so a training goes on as if nothing had happened; its numbers are the same up to
    rounding. If the other process fails, the function says so and stays as it is. A program that
    ends before keeps nothing of it: for a training of less than a minute, `pytensor.function` in
    mode FAST_COMPILE takes less time in all.

    Parameters
    ----------
    inputs, outputs, updates
        As for `pytensor.function`.
    mode
        The mode to switch to, one that leaves its code on disk; mode JAX does not.

    Returns
    -------
    BackgroundFunction
        To be called with arrays, like a compiled function.

    Raises
    ------
    ValueError
        If there is no such mode, or it leaves nothing on disk.

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
        if "jax" in get_mode(mode).provided_optimizer.include:  # a wrong name is an error now
            raise ValueError(f"mode {mode} leaves no code on disk: use pytensor.function")
        self._function = pytensor.function(inputs, outputs, updates=updates, mode=QUICK)
        self._compiler: subprocess.Popen[bytes] | None = None
        self._started = time.monotonic()
        self._calls = 0

    def __call__(self, *arguments: Any) -> Any:
        """Call the function as far as it is compiled."""
        if self._compiler is not None and self._compiler.poll() is not None:
            self._switch()
        result = self._function(*arguments)
        self._calls += 1
        if self._calls == 1:  # these arguments are right
            try:
                self._start(arguments)
                self._tell(
                    f"mode {self._wanted} is being compiled in another process, which takes "
                    "half a minute or more; until then steps are slower"
                )
            except Exception as error:
                self._tell(f"not compiled for mode {self._wanted}, goes on without: {error}")
        return result

    def wait(self) -> None:
        """Wait until the other process, which the first call starts, is done; switch over."""
        if self._compiler is not None:
            self._compiler.wait()
            self._switch()

    def _start(self, arguments: Sequence[Any]) -> None:
        """Start the other process; `arguments` show it the types to compile for."""
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(max(limit, 20_000))  # pickle walks down a graph
        try:
            settings = {"floatX": pytensor.config.floatX}
            pickled = pickle.dumps((self._graph, self._wanted, settings, arguments))
        finally:
            sys.setrecursionlimit(limit)
        folder = tempfile.TemporaryDirectory(prefix="symrnn_")
        job = Path(folder.name) / "graph.pickle"
        job.write_bytes(pickled)
        flags = [
            os.environ.get("PYTENSOR_FLAGS", ""),
            f"base_compiledir={pytensor.config.base_compiledir}",
        ]
        paths = [str(Path(p).absolute()) for p in sys.path]
        with (Path(folder.name) / "errors").open("wb") as errors:
            self._compiler = subprocess.Popen(
                [sys.executable, "-c", _OTHER_PROCESS, str(job)],
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
            self._function = pytensor.function(inputs, outputs, updates=updates, mode=self._wanted)
            self.mode = self._wanted
            message = f"compiled for mode {self._wanted} in {took:.0f} s"
        else:
            errors = (Path(self._folder) / "errors").read_text(errors="replace").strip()
            reason = errors.splitlines()[-1] if errors else f"exit {self._compiler.returncode}"
            message = f"not compiled for mode {self._wanted}, goes on without: {reason}"
        self._compiler = None
        self._finish()
        self._tell(message)

    def _tell(self, message: str) -> None:
        tqdm.write(f"call {self._calls + 1}: {message}", file=sys.stderr)


_OTHER_PROCESS = """
import pathlib, sys
from symrnn import compiling
sys.setrecursionlimit(20_000)
compiling._compile(pathlib.Path(sys.argv[1]))
"""


def _stop(process: "subprocess.Popen[bytes]", folder: Any, limits: Any) -> None:
    limits.restore_original_limits()
    if process.poll() is None:
        process.kill()
        process.wait()
    folder.cleanup()


def _compile(job: Path) -> None:
    """What the other process does: compile the graph and call it once."""
    if hasattr(os, "nice"):
        os.nice(5)  # the training goes first
    (inputs, outputs, updates), mode, settings, arguments = pickle.loads(job.read_bytes())
    with pytensor.config.change_flags(**settings):
        pytensor.function(inputs, outputs, updates=updates, mode=mode)(*arguments)
