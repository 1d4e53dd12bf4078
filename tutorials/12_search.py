"""Lesson 12: hyperparameter search - a grid and random draws, on all cores and on a cluster

What you learn
    To write a training as a function of a configuration, and to search for the configuration that
    learns best: over a grid, or at random. Why random draws are often the better use of the same
    time. To go on after the search was killed. To run it on a Dask cluster. And not to trust the
    best of many numbers.

What you should see
    Seven numbered parts and two figures: 12_trials.png and 12_budget.png. In part 4 the search is
    killed and goes on; in part 6 a scheduler and two workers are started on this machine, find the
    same numbers as before, and in part 7 one of the workers is killed in the middle of its work.

How long it takes (measured on two cores)
    About 25 seconds, most of it in the trials; with --quick 6. --quick kills no search in part 4.

What you need to know
    NumPy, and lessons 0 to 5. Several processes need ``pip install "symrnn[search]"``; without it
    the lesson searches in one process and leaves out the cluster.

The file is a script and a notebook: editors that know `# %%` cells open it as one. There, run the
cells from the top; the last one runs the whole lesson.
"""

# %%
import functools
import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from math import comb
from pathlib import Path
from typing import Any

import _lesson
import matplotlib.pyplot as plt
import numpy as np
import pytensor
import pytensor.tensor as pt

import symrnn as sr
from symrnn import plots, search
from symrnn.tasks.binary_addition import binary_addition

# %% [markdown]
# ## 1. A training as a function
#
# A search can work with any function that takes a configuration, a dictionary, and returns metrics,
# another one. This one trains the net of lesson 5 to add numbers of 8 bits. The configuration says
# how long the steps are (learning_rate), how large the initial weights are (std), how many hidden
# units there are, and where the random numbers begin (seed). The metric is the cross-entropy on 500
# new sums (sums says which): a coin has ln 2 = 0.693.
#
# The function may depend on nothing else, because it will run in other processes: it makes its
# data itself, and takes all randomness from its seed. Then a trial gives the same number wherever
# it runs.
#
# Compiling takes longer than a short training. Only the number of hidden units changes the graph,
# so the compiled functions are kept for each number, with `functools.cache`: every worker process
# compiles them once, and each trial sets the weights anew. Learning rate and weights are shared
# variables.


# %%
@functools.cache
def compiled(hidden: int, mode: str | None) -> Any:
    """Return the step of training, and all that a trial has to set."""
    with pytensor.config.change_flags(floatX="float64"), warnings.catch_warnings():
        x, t = pt.tensor3("x"), pt.tensor3("t")  # (time, batch, 2) and (time, batch, 1)
        net: Any = sr.Module(
            cell=sr.ElmanCell(2, hidden, rng=np.random.default_rng(0)),
            output=sr.Dense(hidden, 1, rng=np.random.default_rng(0)),
        )
        learning_rate = pytensor.shared(0.1, name="learning_rate")
        loss = sr.binary_cross_entropy(net.output(sr.unroll(net.cell, x)[0]), t)
        updates = sr.momentum(loss, net.params, learning_rate)
        warnings.filterwarnings("ignore", message="PyTensor could not link to a BLAS")
        step = sr.function([x, t], loss, updates=updates, mode=mode)
        return step, net.params, learning_rate, list(updates)


def train(config: dict[str, Any]) -> dict[str, float]:
    """Train one net; return its loss on new sums."""
    step, params, learning_rate, changed = compiled(config["hidden"], config["mode"])
    rng = np.random.default_rng(config["seed"])
    for variable in changed:  # weights, and the velocities that momentum keeps
        variable.set_value(np.zeros_like(variable.get_value()))
    for w in params:
        if w.ndim == 2:  # biases start at zero
            w.set_value(rng.normal(0, config["std"], w.get_value().shape))
    learning_rate.set_value(config["learning_rate"])
    for _ in range(config["steps"]):
        step(*binary_addition(20, rng=rng))
    new = binary_addition(500, rng=np.random.default_rng(config["sums"]))
    return {"loss": float(step(*new))}  # which it returns before it changes the weights


# %% [markdown]
# ## 2. Which configurations
#
# A grid takes every combination of some values. Sixteen trials are four learning rates, two values
# of std and two numbers of hidden units.
#
# Random search draws each value from a range. Learning rates and sizes of weights are drawn on a
# logarithmic scale: between 0.001 and 0.01 as many as between 0.1 and 1. From the same seed, a
# longer search begins with the trials of a shorter one, so it can be made longer later.


# %%
def configurations(seed: int, quick: bool, fixed: dict[str, Any]) -> Any:
    """Return the configurations of the grid, and as many random ones."""
    learning_rates, sizes = ([0.01, 1.0], [4]) if quick else ([0.001, 0.01, 0.1, 1.0], [4, 16])
    grid = search.grid({"learning_rate": learning_rates, "std": [0.1, 1.0], "hidden": sizes})
    space = {
        "learning_rate": search.log_uniform(0.001, 1),
        "std": search.log_uniform(0.1, 1),
        "hidden": sizes,
    }
    drawn = search.random(space, len(grid), rng=np.random.default_rng(seed))
    return [config | fixed for config in grid], [config | fixed for config in drawn]


# %% [markdown]
# ## 3. On all cores
#
# `search.run` starts a process for each core and gives the configurations to them, one at a time.
# The folder keeps all of it: a file for each trial, and results.csv with all of them.
#
# ## 4. Killed, and resumed
#
# Whatever is finished is in the folder, so the same call, made again, runs only the rest. To show
# it, another Python starts the search and is killed as soon as a quarter of the trials is there,
# with a signal that cannot be caught (`kill -9`; a machine without power is no different). Its two
# workers live on for a moment: they are in the middle of a trial. The second search does not run
# these two again but waits for them.

# %%
OTHER_PYTHON = """
import json, pathlib, runpy, sys
lesson, folder, configs = sys.argv[1:]
sys.path.insert(0, str(pathlib.Path(lesson).parent))  # the lesson imports _lesson
train = runpy.run_path(lesson)["train"]
from symrnn import search
search.run(train, json.loads(configs), folder, progress=False)
"""


def finished(folder: Path) -> dict[Path, int]:
    """Return the files of all finished trials, and when they were written."""
    return {file: file.stat().st_mtime_ns for file in (folder / "trials").glob("[0-9]*.json")}


def kill_a_search(folder: Path, configs: list[Any]) -> dict[Path, int]:
    """Start the search in another process and kill it; return what is finished then."""
    command = [sys.executable, "-c", OTHER_PYTHON, __file__, str(folder), json.dumps(configs)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as other:
        try:
            while len(finished(folder)) < len(configs) // 4 and other.poll() is None:
                time.sleep(0.05)
        finally:
            other.kill()
    return finished(folder)


def print_table(folder: Path, rows: int) -> None:
    """Print the first rows of the table."""
    with open(folder / "results.csv", encoding="utf-8") as table:
        for line in table.readlines()[: rows + 1]:
            print("   ", line.strip())


# %% [markdown]
# ## 5. Grid or random?
#
# The four best of the random trials have learning rates from 0.15 to 0.23 and std from 0.20 to
# 0.41; both numbers of hidden units are among them. The grid has sixteen trials as well, but it
# tries only four learning rates and two values of std, and none of them lies there: in the upper
# row of the figure the dots stand in columns. The random trials try sixteen values of each. That is
# why random search makes more of the same budget when some hyperparameters matter much and others
# hardly, and one does not know which (Bergstra and Bengio, 2012). Here two of the three matter
# much.
#
# It is still chance. But a search of sixteen trials is also many searches of four: the mean of the
# lowest loss, over all choices of k of the trials, tells what a budget of k trials buys (second
# figure). Here three random trials are on average better than the whole grid.
#
# With --seed 1 to 6 the lowest loss of the random trials is below that of the grid each time, but
# with 2 and 5 only by little. And these are single losses. With --seed 2 both are 0.0009; trained
# with other seeds, as in part 7, the same two configurations have a mean of 0.15 and of 0.56.


# %%
def in_words(config: dict[str, Any]) -> str:
    """Return what is searched for."""
    names = {"learning_rate": "learning rate", "std": "std", "hidden": "hidden"}
    return ", ".join(f"{name} {config[key]:.3g}" for key, name in names.items())


def draw_trials(grid: list[Any], drawn: list[Any], folder: Path) -> None:
    """Draw all trials, those of the grid above the random ones."""
    names = ("learning_rate", "std", "hidden")
    figure, axes = plt.subplots(
        2, 3, figsize=(10, 5.4), sharex="col", sharey=True, layout="constrained"
    )
    for row, trials, title in ((axes[0], grid, "grid"), (axes[1], drawn, "random")):
        values = {name: [t.config[name] for t in trials] for name in names}
        plots.search_results(values, losses(trials), axes=row)
        row[0].set_ylabel(f"{title}: loss")
        for ax in row:
            ax.axhline(np.log(2), color="k", linewidth=0.8, linestyle="--", label="a coin: ln 2")
    for ax in axes[0]:
        ax.set_xlabel("")
    axes[0, 0].legend()
    _lesson.save_figure(figure, folder, "12_trials")


def losses(trials: list[Any]) -> Any:
    """Return the losses; NaN of those that have none."""
    return np.array([t.metrics.get("loss", np.nan) for t in trials])


def best_of(values: Any) -> Any:
    """Return the mean of the lowest of k values, k = 1, 2, ..., over all choices of k of them."""
    v = np.sort(values)
    n = len(v)  # v[i] is the lowest of comb(n - 1 - i, k - 1) of the comb(n, k) choices
    return np.array(
        [sum(comb(n - 1 - i, k - 1) * v[i] for i in range(n)) / comb(n, k) for k in range(1, n + 1)]
    )


def draw_budget(drawn: Any, grid: Any, folder: Path) -> None:
    """Draw how good the best of k random trials is, and the best of the grid."""
    figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
    k = np.arange(1, len(drawn) + 1)
    ax.plot(k, best_of(drawn), "o-", label="best of k random trials, on average")
    ax.axhline(np.min(grid), color="tab:orange", label=f"best of the {len(grid)} of the grid")
    ax.set(xlabel="k", ylabel="loss", yscale="log", title="what a budget of k trials buys")
    ax.grid(alpha=0.3)
    ax.legend()
    _lesson.save_figure(figure, folder, "12_budget")


# %% [markdown]
# ## 6. On a cluster
#
# Dask runs functions on many machines. A cluster is one scheduler and any number of workers, each
# started by a command, on whatever machine:
#
#     dask scheduler                                  it prints its address
#     dask worker tcp://ADDRESS:8786 --nthreads 1     as often as there are cores
#
# and `search.run(..., scheduler="tcp://ADDRESS:8786")` does the rest. Here the "machines" are three
# processes on this one. The random trials are run again, in a folder of their own, and the losses
# must be the same to the last digit.
#
# On real machines, let them share the folder, over a network: then each worker writes its own
# results, as here. Those that do not see it send theirs to the main process.


# %%
@contextmanager
def cluster(folder: Path, n_workers: int = 2) -> Iterator[tuple[str, Any]]:
    """Start a scheduler and workers; give the scheduler's address, and the workers."""
    contact, processes = folder / "scheduler.json", []

    def start(*command: str) -> Any:
        process = subprocess.Popen(
            [sys.executable, "-m", "dask", *command, "--no-dashboard"],
            env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            stderr=subprocess.DEVNULL,  # they tell much
        )
        processes.append(process)
        return process

    import distributed  # noqa: F401 - sets up its loggers

    logging.getLogger("distributed.client").setLevel("ERROR")  # a killed worker is no surprise here
    here = ["--host", "127.0.0.1"]
    try:
        start("scheduler", *here, "--port", "0", "--scheduler-file", str(contact))
        address = None
        while address is None and processes[0].poll() is None:
            time.sleep(0.05)
            with suppress(OSError, ValueError):  # the file is there before all of it is written
                address = json.loads(contact.read_text())["address"]
        own = ["--nthreads", "1", "--no-nanny", "--local-directory", str(folder)]
        workers = [start("worker", str(address), *here, *own) for _ in range(n_workers)]
        yield str(address), workers
    finally:
        for process in reversed(processes):
            process.kill()
            process.wait()


# %% [markdown]
# ## 7. Was it luck?
#
# The best of many numbers is good by merit and by luck. The four best configurations are trained
# again with four other seeds, and measured on 500 other sums. `search.average` takes the means:
# the first and the third hold what they promised; the second and the fourth have each a seed with
# which they do not. What one reports is such a mean, over seeds and data that were not used to
# choose.
#
# In the middle of it one of the two workers is killed, again with a signal that it cannot catch.
# The scheduler notices, and gives its trial to the other one.


# %%
def with_other_seeds(best: list[Any], n_seeds: int) -> list[Any]:
    """Return the configurations of some trials, each with several new seeds, and new sums."""
    return [
        t.config | {"seed": t.config["seed"] + 1000 + k, "sums": 1}
        for t in best
        for k in range(n_seeds)
    ]


def kill_when_some_are_finished(process: Any, folder: Path, some: int) -> threading.Thread:
    """Kill a process, from a thread, as soon as so many trials are finished."""

    def watch() -> None:
        while len(finished(folder)) < some and process.poll() is None:
            time.sleep(0.02)
        process.kill()

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


# %%
def main(
    mode: str | None = None,
    seed: int = 1,
    n_steps: int = 300,
    figures: str = "figures",
    quick: bool = False,
) -> dict[str, Any]:
    """Run the lesson; return what its parts found."""
    _lesson.positive_option("--n-steps", n_steps)
    folder = _lesson.figure_folder(figures, quick)
    how = {"steps": 30 if quick else n_steps, "mode": mode or "QUICK"}
    fixed = {"seed": seed, "sums": 0} | how
    with tempfile.TemporaryDirectory(prefix="symrnn_") as scratch:
        return lesson(Path(scratch), fixed, folder, quick)


def lesson(scratch: Path, fixed: dict[str, Any], folder: Path, quick: bool) -> dict[str, Any]:
    """Do what `main` says."""
    found: dict[str, Any] = {}
    grid, drawn = configurations(fixed["seed"], quick, fixed)
    n_jobs = -1 if find_spec("joblib") and find_spec("cloudpickle") else 1
    print(f"1.-2. {len(grid)} configurations of a grid and {len(drawn)} random ones, such as")
    print(f"  {grid[1]}\n  {drawn[1]}")

    first, before = scratch / "first", {}
    if quick or n_jobs == 1 or "__file__" not in globals():  # a notebook has no file to run
        print("\n3. On all cores" if n_jobs != 1 else "\n3. In one process", flush=True)
    else:
        print("\n3.-4. On all cores; killed, and resumed", flush=True)
        before = kill_a_search(first, grid + drawn)
        print(f"  killed when {len(before)} of {len(grid + drawn)} trials were finished")
    started = time.perf_counter()
    trials = search.run(train, grid + drawn, first, n_jobs=n_jobs, metric="loss")
    seconds = time.perf_counter() - started
    print(f"  all {len(trials)} trials are finished after {seconds:.0f} s{' more' * bool(before)}")
    untouched = sum(finished(first)[file] == when for file, when in before.items())
    if before:
        print(f"  of the first {len(before)} results {untouched} were not written again")
    print("  results.csv begins with")
    print_table(first, 3)

    print("\n5. Grid or random?")
    by_grid, by_chance = trials[: len(grid)], trials[len(grid) :]
    for name, some in (("grid", by_grid), ("random", by_chance)):
        t = search.best(some, "loss")
        print(f"  best of {name:6}  loss {t.metrics['loss']:.4f}  with {in_words(t.config)}")
    curve, lowest = best_of(losses(by_chance)), np.min(losses(by_grid))
    if (curve < lowest).any():
        enough = 1 + int(np.argmax(curve < lowest))
        print(f"  on average {enough} random trials are better than the whole grid")
    draw_trials(by_grid, by_chance, folder)
    draw_budget(losses(by_chance), losses(by_grid), folder)
    found |= {"kept": (len(before), untouched), "curve": curve, "trials": trials}

    top = sorted(trials, key=lambda t: t.metrics["loss"])[: 2 if quick else 4]
    again = with_other_seeds(top, 2 if quick else 4)
    luck = scratch / "luck"
    if find_spec("distributed") and n_jobs != 1:
        print("\n6. On a cluster", flush=True)
        with cluster(scratch) as (address, workers):
            print("  a scheduler and two workers run on this machine")
            far = search.run(train, drawn, scratch / "far", scheduler=address, metric="loss")
            same = sum(a.metrics == b.metrics for a, b in zip(far, by_chance, strict=True))
            print(f"  random trials with exactly the same loss as before: {same} of {len(far)}")
            found["same"] = same
            print("\n7. Was it luck?", flush=True)
            watch = kill_when_some_are_finished(workers[0], luck, 2)
            try:
                others = search.run(train, again, luck, scheduler=address, metric="loss")
            finally:
                workers[0].kill()
                watch.join()
            print(f"  a worker was killed on the way; all {len(others)} trials are finished")
    else:
        print("\n6. left out: for a cluster, pip install 'symrnn[search]'\n\n7. Was it luck?")
        others = search.run(train, again, luck, n_jobs=n_jobs, metric="loss")
    found["luck"] = []
    each = np.reshape(losses(others), (len(top), -1))
    for t, mean, own in zip(top, search.average(others), each, strict=True):
        found["luck"].append((t.metrics["loss"], mean.metrics["loss"], own))
        shown = " ".join(f"{loss:.4f}" for loss in own)
        print(f"  {in_words(t.config)}: was {t.metrics['loss']:.4f}")
        print(f"    with other seeds {shown}; mean {mean.metrics['loss']:.4f}")
    _lesson.show_figures()
    return found


if __name__ == "__main__":
    _lesson.run(
        main,
        help={
            "seed": "of the random draws, and of each training",
            "n_steps": "how long each training is",
            "figures": "folder for the figures",
            "quick": "few trials of 30 steps; nothing is compiled to C, and no search is killed",
        },
    )
