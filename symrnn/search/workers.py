"""Who runs the trials: this process, a process for each core, or the workers of a cluster."""

import copy
import functools
import importlib
import io
import pickle
import signal
import sys
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    wait,
)
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from symrnn.search.configs import Config
from symrnn.search.folder import Folder
from symrnn.search.results import RESERVED, Trial, plain

# What a worker does


@dataclass(frozen=True)
class Job:
    """A trial that is to be run."""

    folder: Folder
    index: int
    config: Config
    failed: Trial | None = None  # the failure on disk at the start, which is to be replaced


def work(train: Any, job: Job, patient: bool) -> Trial | None:
    """Claim a trial, run it if it is not finished, and write its result.

    Returns None if another process is running it; a patient call waits for that one.
    """
    function = _unpickled(train) if isinstance(train, bytes) else train
    if not job.folder.is_here():  # the main process will write the result
        return call(function, job)
    with job.folder.claim(job.index, patient) as mine:
        if not mine:
            return None
        trial = job.folder.read(job.index, job.config)
        if trial is None or trial == job.failed:
            trial = call(function, job)
            job.folder.write(trial)
    return trial


def call(train: Callable[[Config], Any], job: Job) -> Trial:
    """Call the function and time it; an error becomes part of the result."""
    started = time.perf_counter()
    metrics, error, trace = {}, "", ""
    try:
        metrics = _metrics(train(copy.deepcopy(job.config)), job.config)
    except (Exception, SystemExit) as failure:
        error, trace = _said(failure), traceback.format_exc()
    return Trial(job.index, job.config, metrics, time.perf_counter() - started, error, trace)


def _said(failure: BaseException) -> str:
    """Return the name of an error and its message, if it has one."""
    name = type(failure).__name__
    try:
        return f"{name}: {failure}"
    except Exception:
        return name


def _metrics(result: Any, config: Config) -> dict[str, Any]:
    """Return the function's dictionary with NumPy's scalars as plain numbers."""
    if not isinstance(result, Mapping):
        raise TypeError(
            f"train must return a dictionary of metrics, such as {{'loss': 0.1}}, not {result!r}"
        )
    for name in result:
        if not isinstance(name, str) or name in config or name in RESERVED:
            raise ValueError(f"a metric cannot be called {name!r}: the table has such a column")
    return {name: plain(value) for name, value in result.items()}


# Who the workers are


def tell(message: str) -> None:
    """Write a line for the user, beside the progress bar."""
    tqdm.write(message, file=sys.stderr)


SCHEDULER_STOPPED = (
    "the scheduler has stopped. What was finished is kept: start it again, and the same call goes "
    "on with the rest"
)


@dataclass
class Workers:
    """Where trials are run.

    Attributes
    ----------
    train
        The function, pickled if it has to travel.
    slots
        Returns how many trials can run at the same time, now.
    start
        Returns an executor that runs one trial at a time.
    died
        The error of a trial whose process was killed.
    tries
        How many processes may be killed while they run the same trial.
    """

    train: Any
    slots: Callable[[], Any]
    start: Callable[[], Executor]
    died: type[BaseException] = BrokenExecutor
    tries: int = 2

    def run(self, jobs: Sequence[Job]) -> Iterator[Trial]:
        """Give every job to a free worker, and yield trials in the order in which they end."""
        waiting, idle = deque((job, False) for job in jobs), list[Executor]()
        running: dict[Future[Trial | None], tuple[Job, Executor]] = {}
        deaths: Counter[int] = Counter()
        while waiting or running:
            while waiting and len(running) < self.slots():
                (job, patient), executor = waiting.popleft(), idle.pop() if idle else self.start()
                if patient and (holder := job.folder.holder(job.index)):
                    tell(f"trial {job.index} is being run by {holder}: this search waits for it")
                try:
                    future = executor.submit(work, self.train, job, patient)
                except BrokenExecutor:  # killed while it had nothing to do
                    executor = self.start()
                    future = executor.submit(work, self.train, job, patient)
                running[future] = job, executor
            for future in wait(running, timeout=1, return_when=FIRST_COMPLETED).done:
                job, executor = running.pop(future)
                try:
                    trial = future.result()
                    idle.append(executor)
                    if trial is None:  # another process is running it: ask again at the end
                        waiting.append((job, True))
                except self.died as error:
                    deaths[job.index] += 1
                    trial = None
                    if deaths[job.index] < self.tries:
                        waiting.append((job, False))
                    else:
                        message = f"{type(error).__name__}: each process that ran it was killed"
                        trial = Trial(job.index, job.config, {}, 0.0, message, str(error))
                except CancelledError:
                    raise ConnectionError(SCHEDULER_STOPPED) from None
                if trial is not None:
                    yield trial


def choose(
    train: Any, n_trials: int, n_jobs: int, scheduler: str | None, stack: ExitStack
) -> Workers:
    """Return the workers asked for; they end with the stack."""
    if n_trials and scheduler is not None:
        return _cluster(train, scheduler, stack)
    if n_trials and n_jobs != 1:
        n_jobs = _needed("joblib").effective_n_jobs(n_jobs)
    if not n_trials or n_jobs == 1:
        return Workers(train, lambda: 1, _ThisProcess)
    return _processes(train, n_jobs, stack)


class _ThisProcess(Executor):
    """Runs a job at once, where a debugger sees it."""

    def submit(self, function: Any, /, *arguments: Any, **options: Any) -> Future[Any]:
        """Return a future that is done."""
        future: Future[Any] = Future()
        with _ctrl_c_stops_the_search():
            future.set_result(function(*arguments, **options))
        return future


@contextmanager
def _ctrl_c_stops_the_search() -> Iterator[None]:
    """Let Ctrl-C stop the search: `symrnn.train` would return as if the training had finished."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    # not the usual handler itself: symrnn.train replaces only that one
    signal.signal(signal.SIGINT, lambda number, frame: signal.default_int_handler(number, frame))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _needed(name: str) -> Any:
    """Import a module of the extra "search"."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"this needs {name}: pip install 'symrnn[search]'; a search in one process, with "
            "n_jobs=1 and without a scheduler, does not"
        ) from error


def _processes(train: Any, n: int, stack: ExitStack) -> Workers:
    """Return `n` pools of one process each: one that is killed does not affect the others.

    (`joblib.Parallel` has one pool of n processes, and when one of them dies it ends them all.)
    """
    try:
        loky = importlib.import_module("joblib.externals.loky")
    except ImportError:  # a joblib that comes without its own copy
        loky = _needed("loky")

    def start() -> Executor:
        names = ("OMP", "OPENBLAS", "MKL", "NUMBA")
        own = {f"{name}_NUM_THREADS": "1" for name in names} | {"TQDM_DISABLE": "1"}
        pool: Executor = loky.ProcessPoolExecutor(
            1,
            timeout=60,  # it ends by itself if the main process is gone
            env=own,
            initializer=_leave_the_terminal,
        )
        # killed only after an error or Ctrl-C: who ends by itself tidies up
        stack.push(lambda kind, *_: pool.shutdown(kill_workers=kind is not None))  # type: ignore[call-arg]
        return pool

    return Workers(_pickled(train), lambda: n, start)


def _leave_the_terminal() -> None:
    """Let Ctrl-C be for the main process, and draw no bar over that of the search."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(AttributeError):  # there is no output
        sys.stderr.isatty = lambda: False  # type: ignore[method-assign]


def _cluster(train: Any, address: str, stack: ExitStack) -> Workers:
    """Return as many slots as the workers of a Dask cluster have threads, now."""
    distributed = _needed("distributed")
    try:
        client = stack.enter_context(distributed.Client(address, timeout=10, set_as_default=False))
    except (OSError, ValueError) as error:
        raise ConnectionError(
            f"no Dask scheduler answers at {address!r} ({error}): start one with 'dask scheduler', "
            "which prints its address, such as tcp://127.0.0.1:8786"
        ) from error
    try:
        client.wait_for_workers(1, timeout=10)
    except TimeoutError as error:
        raise ConnectionError(
            f"the scheduler at {address} has no workers: start some, each with "
            f"'dask worker {address} --nthreads 1'"
        ) from error
    executor = client.get_executor(pure=False)
    stack.callback(executor.shutdown, wait=False)

    def slots() -> Any:  # more trials would queue at a worker, and be blamed for its death
        try:
            return max(1, sum(client.nthreads().values()))
        except OSError as error:
            raise ConnectionError(SCHEDULER_STOPPED) from error

    # the scheduler itself gives the trial of a killed worker to others, a few times
    return Workers(_pickled(train), slots, lambda: executor, distributed.KilledWorker, tries=1)


# How a function gets there


def _pickled(train: Any) -> bytes:
    """Pickle a function; one of a script, with everything there that it calls."""
    cloudpickle = _needed("cloudpickle")

    class Pickler(cloudpickle.CloudPickler):  # type: ignore[name-defined]
        def reducer_override(self, thing: Any) -> Any:
            """Let functions of a script that have `functools.cache` arrive with an empty cache."""
            module = sys.modules.get(getattr(thing, "__module__", None) or "")
            if isinstance(thing, functools._lru_cache_wrapper) and (
                module is None or module.__name__ == "__main__"
            ):
                return _cached, (thing.__wrapped__, thing.cache_parameters())
            return super().reducer_override(thing)

    stream = io.BytesIO()
    try:
        Pickler(stream).dump(train)
    except Exception as error:
        raise TypeError(
            f"train cannot be sent to other processes ({error}): let it make or load what it needs "
            "itself, or use n_jobs=1"
        ) from error
    return stream.getvalue()


def _cached(function: Any, parameters: dict[str, Any]) -> Any:
    return functools.lru_cache(**parameters)(function)


@functools.lru_cache(maxsize=1)
def _unpickled(train: bytes) -> Any:
    """Load the function once in each process: what it caches serves all trials there."""
    return pickle.loads(train)
