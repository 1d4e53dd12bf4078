"""The search: what is not finished is given to workers, and the table kept up to date."""

import functools
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tqdm import tqdm

from symrnn.search.configs import Config, checked_configs
from symrnn.search.folder import open_folder
from symrnn.search.results import Trial, best, is_finite
from symrnn.search.workers import Job, choose


def run(
    train: Callable[[Config], Mapping[str, Any]],
    configs: Iterable[Config],
    folder: str | Path,
    n_jobs: int = -1,
    scheduler: str | None = None,
    retry_failed: bool = False,
    metric: str | None = None,
    lowest: bool = True,
    progress: bool | None = None,
) -> list[Trial]:
    """Call `train` for every configuration, in several processes, and keep what it returns.

    Parameters
    ----------
    train
        Takes a configuration and returns a dictionary of metrics, numbers or strings. It should
        depend on nothing else: give it its seed in the configuration. Each worker process loads it
        once, so what it keeps with `functools.cache`, such as a compiled graph, serves all trials
        of that process. Settings of the main process, such as ``pytensor.config``, do not reach
        the workers: set them in `train`.
    configs
        Different dictionaries, of values that JSON can store.
    folder
        Where everything is kept; made if it is not there. ``results.csv`` is the table of what is
        finished, and ``trials/7.json`` holds trial 7, with its traceback if it failed. If the
        folder is that of the same search, or of its beginning, the search goes on from there.
    n_jobs
        How many processes; -1 is one for each core. With 1 all is done in this process, where a
        debugger sees it.
    scheduler
        Address of a Dask scheduler, such as ``"tcp://127.0.0.1:8786"``, whose workers shall run
        the trials; `n_jobs` then means nothing. The workers need symrnn, and one thread each
        (``dask worker ADDRESS --nthreads 1``): PyTensor does not compile in two threads at once.
    retry_failed
        Run again what failed in an earlier call.
    metric, lowest
        The progress bar shows the best value so far of this metric, the lowest or the highest.
    progress
        Show a bar. Default: if the output is a terminal.

    Returns
    -------
    list of Trial
        In the order of `configs`.

    Raises
    ------
    TypeError, ValueError
        If `train`, `configs` or `n_jobs` cannot be used, or the folder belongs to something else.
    ImportError
        If joblib or distributed is needed and not installed.
    ConnectionError
        If there is no scheduler at the address, it has no workers, or it stops before the end.
    KeyboardInterrupt
        After Ctrl-C. The workers have been stopped then, and the table is there.

    Notes
    -----
    The process that has run a trial writes its result before it reports: killing the main process
    loses nothing that was finished. While it runs a trial it holds a lock, which the operating
    system frees when the process ends, in whatever way. So a search that is resumed while a worker
    of the killed one is still busy waits for its result, and the same call in two terminals shares
    the work. Only what was under way in a killed process is started anew. Workers that have lost
    their main process finish their trial, and end within two minutes.

    A trial that raises an error is recorded with it, and the others go on. If the process of a
    trial is killed, for example for want of memory, the trial is tried once more at the end and
    then recorded as failed; the other processes are not disturbed. On a cluster the scheduler
    decides how often it is tried (its setting ``allowed-failures``, by default 3).

    Workers of a cluster that do not see `folder`, on other machines, send their results to the
    main process, which writes them. If that is killed, what they were running is lost.

    Changes in the code of `train` are not noticed: for another function take another folder.
    """
    if not callable(train):
        raise TypeError(f"train is {train!r}, but must be a function: config -> metrics")
    configs = checked_configs(configs)
    place = open_folder(Path(folder).absolute(), _name(train), configs)
    trials: dict[int, Trial] = {}
    for index in range(len(configs)):
        trial = place.read(index)
        if trial is None and place.file(index).exists():
            _tell(f"{place.file(index)} is damaged: trial {index} is run again")
        elif trial is not None and not (retry_failed and trial.error):
            trials[index] = trial
    jobs = [
        Job(place, index, config, retry_failed)
        for index, config in enumerate(configs)
        if index not in trials
    ]
    place.write_table(trials)
    bar = tqdm(
        total=len(configs), initial=len(trials), desc="search", unit=" trials",
        disable=None if progress is None else not progress,
    )  # fmt: skip
    try:
        with bar, ExitStack() as stack:
            for trial in choose(train, len(jobs), n_jobs, scheduler, stack).run(jobs):
                kept = place.read(trial.index)
                if kept is None or kept.error:  # no worker could write it
                    place.write(trial)
                trials[trial.index] = trial
                place.write_table(trials)
                bar.set_postfix_str(_standing(list(trials.values()), metric, lowest), refresh=False)
                bar.update()
    except KeyboardInterrupt:
        _tell(
            f"stopped: {len(trials)} of {len(configs)} trials are finished and kept in {folder}; "
            "the same call goes on with the rest"
        )
        raise
    return [trials[index] for index in range(len(configs))]


def _name(train: Any) -> str:
    """Return what a function is called."""
    while isinstance(train, functools.partial):
        train = train.func
    return str(getattr(train, "__qualname__", type(train).__qualname__))


def _standing(trials: list[Trial], metric: str | None, lowest: bool) -> str:
    """Return the best value so far and the number of failures, as far as there are any."""
    parts = []
    if metric is not None and any(is_finite(t.metrics.get(metric)) for t in trials):
        parts.append(f"best {metric} {best(trials, metric, lowest).metrics[metric]:.4g}")
    if failed := sum(bool(t.error) for t in trials):
        parts.append(f"{failed} failed")
    return ", ".join(parts)


def _tell(message: str) -> None:
    tqdm.write(message, file=sys.stderr)
