"""The search: gives unfinished trials to workers and keeps the table up to date."""

import functools
import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tqdm import tqdm

from symrnn.search.configs import Config, checked_configs
from symrnn.search.folder import Folder, open_folder
from symrnn.search.results import Trial, best, is_finite, plain
from symrnn.search.workers import Job, choose, tell


def run(
    train: Callable[[Config], Mapping[str, Any]],
    configs: Iterable[Config],
    folder: str | Path,
    *,
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
        depend on nothing else: put its seed into the configuration. Each worker process loads it
        once, so what it caches with `functools.cache`, such as a compiled graph, serves all trials
        of that process. Settings of the main process, such as ``pytensor.config``, do not reach
        the workers: set them in `train`.
    configs
        Dictionaries of values that JSON can store, no two of them equal.
    folder
        Where everything is kept; made if it does not exist. ``results.csv`` is the table of
        finished trials, and ``trials/7.json`` holds trial 7, with its traceback if it failed. A
        folder that holds the same search, or its beginning, is resumed. If it holds a longer one,
        only `configs` are run, and the table keeps all rows.
    n_jobs
        Number of processes; -1 (the default) is one for each core. With 1 everything runs in this
        process, where a debugger sees it. Other processes draw no progress bars of their own.
    scheduler
        Address of a Dask scheduler, such as ``"tcp://127.0.0.1:8786"``, whose workers run the
        trials; `n_jobs` is then ignored. The workers need symrnn, and one thread each
        (``dask worker ADDRESS --nthreads 1``): PyTensor does not compile in two threads at once.
    retry_failed
        Run trials again that failed in an earlier call. Default: False.
    metric
        The progress bar shows the best value of this metric so far. Default: none.
    lowest
        Whether the lowest value of `metric` is the best one. Default: True.
    progress
        Whether to show a progress bar. Default: if the output is a terminal.

    Returns
    -------
    list of Trial
        In the order of `configs`.

    Raises
    ------
    ValueError
        If the folder belongs to something else.
    ConnectionError
        If no scheduler answers at the address, it has no workers, or it stops before the end.
    KeyboardInterrupt
        After Ctrl-C. The workers have been stopped and the table is written. Only the workers of
        a cluster finish the trials they are running, and keep them if they see the folder.
    OSError
        If a file cannot be read or written, or the folder's file system cannot lock files. If
        only ``results.csv`` is open elsewhere, it is written with a later trial.

    Notes
    -----
    The process that runs a trial writes its result before it reports to the main process, so
    killing the main process loses no finished trial. While a process runs a trial it holds a lock,
    which the operating system releases when the process ends, for whatever reason (if it is killed
    and had forked, when its children end too). A search that is resumed while a worker of the
    killed one is still busy waits for that worker's result and says which process it is: if it
    hangs, kill it. In the same way the same call in two terminals shares the work. Only trials
    that were running in a killed process start again. Workers that have lost their main process
    finish their trial and end within two minutes.

    A trial that raises an error is recorded with it, and the others continue. If the process of a
    trial is killed, for example because memory runs out, the trial is tried once more at the end
    and then recorded as failed; the other processes are not affected. On a cluster the scheduler
    decides how often it is tried (its setting ``allowed-failures``, by default 3).

    Workers of a cluster that do not see `folder`, on other machines, send their results to the
    main process, which writes them. If that is killed, the trials they were running are lost.

    Changes in the code of `train` are not noticed: give another function another folder. A
    `functools.partial` with other arguments is another function, and raises an error; but of
    arguments that JSON cannot store, such as arrays, only the type is compared.

    Examples
    --------
    >>> import tempfile
    >>> from symrnn import search
    >>> configs = search.grid({"x": [0, 1, 2]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     trials = search.run(lambda config: {"y": config["x"] ** 2}, configs, folder, n_jobs=1)
    >>> [trial.metrics["y"] for trial in trials]
    [0, 1, 4]
    """
    if not callable(train):
        raise TypeError(f"train is {train!r}, but must be a function: config -> metrics")
    configs = checked_configs(configs)
    place = open_folder(Path(folder).absolute(), _name(train), configs)
    trials: dict[int, Trial] = {}
    jobs = []
    for index, config in enumerate(configs):
        trial = place.read(index, config)
        if trial is not None and not (retry_failed and trial.error):
            trials[index] = trial
            continue
        if trial is None and place.file(index).exists():
            tell(f"{place.file(index)} is damaged: trial {index} is run again")
        jobs.append(Job(place, index, config, failed=trial))
    table_is_written = _write_table(place, trials, told=False)
    bar = tqdm(
        total=len(configs), initial=len(trials), desc="search", unit=" trials",
        disable=None if progress is None else not progress,
    )  # fmt: skip
    try:
        with bar, ExitStack() as stack:
            for trial in choose(train, len(jobs), n_jobs, scheduler, stack).run(jobs):
                with place.claim(trial.index, patient=True):
                    kept = place.read(trial.index, trial.config)
                    if kept is not None and not kept.error:  # also if its process died afterwards
                        trial = kept
                    else:  # perhaps no worker could write it
                        place.write(trial)
                trials[trial.index] = trial
                table_is_written = _write_table(place, trials, told=not table_is_written)
                bar.set_postfix_str(_standing(list(trials.values()), metric, lowest), refresh=False)
                bar.update()
    except KeyboardInterrupt:
        tell(
            f"stopped: {len(trials)} of {len(configs)} trials are finished and kept in {folder}; "
            "the same call continues with the rest"
        )
        raise
    return [trials[index] for index in range(len(configs))]


def _name(train: Any) -> str:
    """Return the name of a function, with the arguments of a partial one."""
    given = ""
    while isinstance(train, functools.partial):
        arguments = [*train.args, dict(sorted(train.keywords.items()))]
        given += json.dumps(arguments, default=_stored, skipkeys=True)
        train = train.func
    return str(getattr(train, "__qualname__", type(train).__qualname__)) + given


def _stored(value: Any) -> Any:
    """Return a number or string as it is, and the name of the type of anything else."""
    try:
        return plain(value)
    except TypeError:
        return type(value).__qualname__


def _write_table(place: Folder, trials: Mapping[int, Trial], told: bool) -> bool:
    """Write the table and return whether that worked; if it is open elsewhere, say so once."""
    try:
        place.write_table(trials)
        return True
    except OSError as error:
        if not told:
            tell(f"results.csv is not written now ({error}), but with the next trial or call")
        return False


def _standing(trials: list[Trial], metric: str | None, lowest: bool) -> str:
    """Return the best value so far and the number of failures, where there are any."""
    parts = []
    if metric is not None and any(is_finite(t.metrics.get(metric)) for t in trials):
        parts.append(f"best {metric} {best(trials, metric, lowest=lowest).metrics[metric]:.4g}")
    if failed := sum(bool(t.error) for t in trials):
        parts.append(f"{failed} failed")
    return ", ".join(parts)
