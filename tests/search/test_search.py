import csv
import functools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from symrnn import search
from symrnn.search import Trial
from symrnn.search.folder import Folder
from symrnn.search.workers import Job, Workers, work
from symrnn.training import loop as training

SPACE = {
    "learning_rate": search.log_uniform(1e-4, 1),
    "layers": search.integers(1, 3),
    "cell": ["a", "b"],
}


# Configurations


def test_a_grid_has_every_combination_once_in_order():
    configs = search.grid({"learning_rate": [0.1, 0.01], "hidden": (8, 16), "cell": ["LSTM"]})
    assert [(c["learning_rate"], c["hidden"], c["cell"]) for c in configs] == [
        (0.1, 8, "LSTM"), (0.1, 16, "LSTM"), (0.01, 8, "LSTM"), (0.01, 16, "LSTM"),
    ]  # fmt: skip


def test_random_configurations_come_from_their_ranges_and_all_differ():
    configs = search.random(SPACE, 300, rng=np.random.default_rng(1))
    assert len({json.dumps(c) for c in configs}) == 300
    assert {c["layers"] for c in configs} == {1, 2, 3}
    assert {c["cell"] for c in configs} == {"a", "b"}
    rates = np.array([c["learning_rate"] for c in configs])
    assert 1e-4 <= rates.min() < 2e-4
    assert 0.5 < rates.max() < 1
    shares = np.histogram(np.log10(rates), 4, (-4, 0))[0] / 300
    assert np.abs(shares - 0.25).max() < 0.1  # as many in each power of ten
    uniform = search.random({"x": search.uniform(2, 4)}, 300, rng=np.random.default_rng(1))
    assert abs(np.mean([c["x"] for c in uniform]) - 3) < 0.1


def test_the_same_seed_draws_the_same_and_a_longer_search_begins_with_a_shorter_one():
    few, many = (search.random(SPACE, n, rng=np.random.default_rng(7)) for n in (5, 50))
    assert many[:5] == few
    assert search.random(SPACE, 5, rng=np.random.default_rng(8)) != few


def test_a_space_that_cannot_be_searched_is_refused():
    rng = np.random.default_rng(0)
    for space in ({}, [1, 2]):
        with pytest.raises(ValueError, match="must name at least one hyperparameter"):
            search.grid(space)
    for values in ([], "abc", 3):
        with pytest.raises(
            ValueError, match=r"'learning_rate' is .* must be a list with at least one"
        ):
            search.random({"learning_rate": values}, 2, rng=rng)
    with pytest.raises(TypeError, match=r"a grid needs a list of values for \['learning_rate'\]"):
        search.grid({"learning_rate": search.uniform(0, 1)})
    with pytest.raises(ValueError, match="n is 0"):
        search.random({"learning_rate": [1]}, 0, rng=rng)
    with pytest.raises(ValueError, match="n is 5, but there seem to be only 4"):
        search.random({"a": [1, 2], "b": search.integers(1, 2)}, 5, rng=rng)
    with pytest.raises(ValueError, match="n is 5, but there are only 4"):
        search.random({"a": [1, 2], "b": (3, 4, 3)}, 5, rng=rng)
    for n in (2.5, np.nan):
        with pytest.raises(ValueError, match=f"n is {n}, but must be a whole number"):
            search.random({"learning_rate": [1, 2]}, n, rng=rng)
    with pytest.raises(TypeError, match=r"1\.5 to 3\.5, but must be one of integers"):
        search.integers(1.5, 3.5)
    with pytest.raises(TypeError, match="must be a generator"):
        search.random({"learning_rate": [1]}, 1, rng=3)
    for make, low, high in (
        (search.uniform, 1, 1), (search.log_uniform, 0, 1), (search.integers, 3, 2),
        (search.uniform, 0, np.inf), (search.uniform, np.nan, 1),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="must go from a lower number to a higher one"):
            make(low, high)


def test_all_combinations_can_be_drawn():
    for space in ({"a": list(range(500))}, {"a": search.integers(1, 500)}):
        for seed in range(3):
            assert len(search.random(space, 500, rng=np.random.default_rng(seed))) == 500


# One process


def square(config):
    return {"loss": (config["x"] - 3) ** 2, "name": f"x{config['x']}"}


XS = [{"x": x} for x in range(6)]


def rows(folder):
    with open(folder / "results.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_configuration_is_run_and_stands_in_the_table(tmp_path):
    trials = search.run(square, XS, tmp_path / "a" / "b", n_jobs=1)
    assert [t.metrics["loss"] for t in trials] == [9, 4, 1, 0, 1, 4]
    assert [t.config for t in trials] == XS
    table = rows(tmp_path / "a" / "b")
    assert list(table[0]) == ["index", "x", "loss", "name", "seconds", "error"]
    assert [(r["index"], r["x"], r["loss"], r["name"]) for r in table[2:4]] == [
        ("2", "2", "1", "x2"), ("3", "3", "0", "x3"),
    ]  # fmt: skip


def test_best_is_the_lowest_or_highest_finite_value():
    values = [3.0, np.nan, -1.0, -np.inf, 8.0, np.inf]
    trials = [Trial(i, {"x": i}, {"loss": v}, 0.0) for i, v in enumerate(values)]
    trials.append(Trial(6, {"x": 6}, {}, 0.0, "ValueError: no", "..."))
    assert search.best(trials, "loss").index == 2
    assert search.best(trials, "loss", lowest=False).index == 4
    with pytest.raises(ValueError, match=r"'cost': their metrics are \['loss'\], and 1 failed"):
        search.best(trials, "cost")


def test_means_over_seeds_group_what_differs_in_nothing_else():
    configs = search.grid({"x": [1, 2], "seed": [0, 1, 2]})
    trials = [
        Trial(i, c, {"loss": c["x"] + c["seed"], "text": "a"}, 1.0) for i, c in enumerate(configs)
    ]
    first, second = search.average(trials)
    assert (first.index, first.config, first.metrics) == (0, {"x": 1}, {"loss": 2.0})
    assert (second.index, second.config, second.metrics, second.seconds) == (
        3, {"x": 2}, {"loss": 3.0}, 3.0,
    )  # fmt: skip
    trials[4] = Trial(4, configs[4], {}, 0.0, "ValueError: no", "...")
    assert [t.error for t in search.average(trials)] == ["", "ValueError: no"]
    with pytest.raises(ValueError, match="trial 0 has no 'start'"):
        search.average(trials, over="start")


def test_a_finished_trial_is_not_run_again_and_a_longer_search_goes_on(tmp_path):
    ran = []

    def train(config):
        ran.append(config["x"])
        return {"loss": config["x"]}

    search.run(train, XS[:3], tmp_path, n_jobs=1)
    trials = search.run(train, XS, tmp_path, n_jobs=1)
    again = search.run(train, iter(XS), tmp_path, n_jobs=1)
    assert ran == [0, 1, 2, 3, 4, 5]
    assert again == trials
    assert len(search.run(train, XS[:2], tmp_path, n_jobs=1)) == 2
    search.run(train, XS, tmp_path, n_jobs=1)
    assert ran == [0, 1, 2, 3, 4, 5]
    assert len(rows(tmp_path)) == 6


def test_a_shorter_list_leaves_all_rows_in_the_table(tmp_path):
    search.run(square, XS, tmp_path, n_jobs=1)
    search.run(square, XS[:2], tmp_path, n_jobs=1)
    assert [r["index"] for r in rows(tmp_path)] == ["0", "1", "2", "3", "4", "5"]


def test_a_metric_called_like_a_hyperparameter_of_another_trial_has_a_column_of_its_own(tmp_path):
    train = lambda config: {"b": 5} if "a" in config else {"c": 7}  # noqa: E731
    search.run(train, [{"a": 1}, {"b": 2}], tmp_path, n_jobs=1)
    assert [(r["a"], r["b"], r["b (metric)"], r["c"]) for r in rows(tmp_path)] == [
        ("1", "", "5", ""), ("", "2", "", "7"),
    ]  # fmt: skip


def test_a_failure_that_another_search_has_run_again_is_not_run_a_third_time(tmp_path):
    ran = []

    def train(config):
        ran.append(config["x"])
        raise ValueError(f"no {len(ran)}")

    (first,) = search.run(train, XS[:1], tmp_path, n_jobs=1)
    place = Folder(tmp_path, json.loads((tmp_path / "search.json").read_text())["identity"])
    job = Job(place, 0, XS[0], failed=first)  # of two searches that began at the same time
    second = work(train, job, False)
    assert work(train, job, False) == second
    assert (ran, second.error) == ([0, 0], "ValueError: no 2")


def test_a_trial_whose_process_died_after_it_was_written_is_finished(tmp_path, monkeypatch):
    def run_and_die(workers, jobs):
        for job in jobs:
            workers.train(job.config) if job.index else work(workers.train, job, False)
            yield Trial(job.index, job.config, {}, 0.0, "TerminatedWorkerError: killed", "")

    monkeypatch.setattr(Workers, "run", run_and_die)
    trials = search.run(square, XS[:2], tmp_path, n_jobs=1)
    assert [t.error for t in trials] == ["", "TerminatedWorkerError: killed"]
    assert [r["loss"] for r in rows(tmp_path)] == ["9", ""]


def test_an_error_that_cannot_be_said_is_recorded_by_its_name(tmp_path):
    class MuteError(Exception):
        def __str__(self):
            raise RuntimeError

    def train(config):
        raise MuteError if config["x"] else ValueError("file \udc80")

    trials = search.run(train, XS[:2], tmp_path, n_jobs=1)
    assert [t.error for t in trials] == ["ValueError: file \udc80", "MuteError"]
    assert search.run(train, XS[:2], tmp_path, n_jobs=1) == trials
    assert rows(tmp_path)[0]["error"] == "ValueError: file \\udc80"


def test_a_table_that_is_in_use_does_not_end_the_search(tmp_path, monkeypatch, capsys):
    replace, tried = os.replace, []

    def in_use(old, new):
        if Path(new).name == "results.csv":
            tried.append(1)
            if 1 < len(tried) < 4:
                raise PermissionError(13, "open in another program")
        replace(old, new)

    monkeypatch.setattr(os, "replace", in_use)
    search.run(square, XS, tmp_path, n_jobs=1)
    assert capsys.readouterr().err.count("results.csv is not written now") == 1
    assert len(rows(tmp_path)) == 6
    assert not list(tmp_path.glob(".results*"))


def test_a_finished_trial_that_cannot_be_read_is_not_run_again(tmp_path, monkeypatch):
    search.run(square, XS, tmp_path, n_jobs=1)
    before = (tmp_path / "trials" / "2.json").read_bytes()
    read = Path.read_text

    def broken(path, *arguments):
        if path.name == "2.json":
            raise OSError(5, "Input/output error")
        return read(path, *arguments)

    monkeypatch.setattr(Path, "read_text", broken)
    with pytest.raises(OSError, match="Input/output error"):
        search.run(square, XS, tmp_path, n_jobs=1)
    assert (tmp_path / "trials" / "2.json").read_bytes() == before


def test_where_files_cannot_be_locked_the_search_says_so(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def flock(descriptor, operation):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match="the file system of the folder cannot lock files"):
        search.run(square, XS, tmp_path, n_jobs=1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_that_outlives_a_trial_does_not_keep_its_lock(tmp_path):
    def train(config):
        child = os.fork()
        if child == 0:
            time.sleep(60)
            os._exit(0)
        children.append(child)
        raise ValueError

    children, place = [], Folder(tmp_path, "")
    try:
        search.run(train, XS[:1], tmp_path, n_jobs=1)
        with place.claim(0, patient=False) as mine:
            assert mine
            assert place.holder(0).startswith(f"process {os.getpid()} on ")
            with place.claim(0, patient=False) as again:
                assert not again
        assert place.holder(0) == ""
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def test_a_partial_function_with_other_arguments_is_another_search(tmp_path):
    def train(config, k, data):
        return {"loss": config["x"] * k}

    partial = functools.partial
    trials = search.run(partial(train, k=1, data=np.ones(2)), XS, tmp_path, n_jobs=1)
    assert search.run(partial(train, data=np.ones(2), k=1), XS, tmp_path, n_jobs=1) == trials
    with pytest.raises(ValueError, match=r'{"data": "ndarray", "k": 1}.* not of .*"k": 2'):
        search.run(partial(train, k=2, data=np.ones(2)), XS, tmp_path, n_jobs=1)


def test_a_trial_that_raises_is_recorded_and_run_again_only_if_asked(tmp_path):
    ran = []

    def train(config):
        ran.append(config["x"])
        if config["x"] == 1 and len(ran) < 7:
            raise ValueError("a rate, too high")
        if config["x"] == 2 and len(ran) < 7:
            sys.exit(3)
        return {"loss": np.float32(0.5), "n": np.int64(3), "y": np.array(2.0)}

    trials = search.run(train, XS[:3], tmp_path, n_jobs=1)
    assert [t.error for t in trials] == ["", "ValueError: a rate, too high", "SystemExit: 3"]
    assert 'raise ValueError("a rate, too high")' in trials[1].traceback
    assert trials[0].metrics == {"loss": 0.5, "n": 3, "y": 2.0}
    assert [(r["loss"], r["error"]) for r in rows(tmp_path)][:2] == [
        ("0.5", ""), ("", "ValueError: a rate, too high"),
    ]  # fmt: skip
    assert search.run(train, XS[:3], tmp_path, n_jobs=1) == trials
    search.run(train, XS[:3], tmp_path, n_jobs=1, retry_failed=True)
    assert ran == [0, 1, 2, 1, 2]
    ran.extend([0, 0])
    trials = search.run(train, XS[:3], tmp_path, n_jobs=1, retry_failed=True)
    assert [t.error for t in trials] == ["", "", ""]
    assert search.run(train, XS[:3], tmp_path, n_jobs=1) == trials
    assert {r["error"] for r in rows(tmp_path)} == {""}


@pytest.mark.parametrize(
    ("result", "error"),
    [
        (0.5, "TypeError: train must return a dictionary of metrics"),
        (None, "TypeError: train must return a dictionary of metrics"),
        ({"loss": [1, 2]}, r"TypeError: \[1, 2\] is of type list, not a number or a string"),
        ({"loss": np.ones(2)}, "TypeError: array.*not a number or a string"),
        ({"x": 1}, "ValueError: a metric cannot be called 'x'"),
        ({"seconds": 1}, "ValueError: a metric cannot be called 'seconds'"),
        ({3: 1}, "ValueError: a metric cannot be called 3"),
    ],
)
def test_results_that_are_no_metrics_are_errors_of_the_trial(tmp_path, result, error):
    (trial,) = search.run(lambda config: result, XS[:1], tmp_path, n_jobs=1)
    assert trial.metrics == {}
    with pytest.raises(ValueError, match=error):
        search.best([trial], "loss")


def test_values_that_are_no_finite_numbers_are_kept(tmp_path):
    results = [
        {"loss": np.nan, "b": True},
        {"loss": np.inf, "b": None},
        {"loss": -1.5, "b": "ü,\n"},
    ]
    train = lambda config: results[config["x"]]  # noqa: E731
    for _ in range(2):
        trials = search.run(train, XS[:3], tmp_path, n_jobs=1)
        assert np.isnan(trials[0].metrics["loss"])
        assert trials[0].metrics["b"] is True
        assert trials[1].metrics == results[1]
        assert trials[2].metrics == results[2]
    assert [(r["loss"], r["b"]) for r in rows(tmp_path)] == [
        ("nan", "True"), ("inf", ""), ("-1.5", "ü,\n"),
    ]  # fmt: skip


def test_configurations_arrive_as_they_are_stored_and_cannot_be_changed(tmp_path):
    def train(config):
        given = repr(config)
        config["sizes"].append(0)
        return {"given": given}

    configs = [
        {"sizes": (1, 2), "learning_rate": np.float32(0.5), "n": np.int64(3), "on": np.bool_(True)}
    ]
    (trial,) = search.run(train, configs, tmp_path, n_jobs=1)
    assert trial.metrics["given"] == "{'sizes': [1, 2], 'learning_rate': 0.5, 'n': 3, 'on': True}"
    assert trial.config["sizes"] == [1, 2]
    assert search.run(train, configs, tmp_path, n_jobs=1) == [trial]
    assert rows(tmp_path)[0]["sizes"] == "[1, 2]"


@pytest.mark.parametrize(
    ("configs", "error", "message"),
    [
        ([], ValueError, "configs is empty"),
        ([3], TypeError, "config 0 is 3, but must be a dictionary"),
        ([{3: 1}], TypeError, "must be a dictionary with names"),
        ([{"f": np.tanh}], TypeError, "config 0 cannot be stored as JSON .*name of a function"),
        ([{"x": np.ones(2)}], TypeError, "cannot be stored as JSON"),
        (
            [{"x": 1}, {"x": 2}, {"x": np.int64(1)}],
            ValueError,
            "configs 0 and 2 are the same.*seed",
        ),
        ([{"error": 1}], ValueError, "no hyperparameter can be called {'error'}"),
    ],
)
def test_configurations_that_do_not_fit_are_refused_before_anything_is_written(
    tmp_path, configs, error, message
):
    with pytest.raises(error, match=message):
        search.run(square, configs, tmp_path / "a", n_jobs=1)
    assert not (tmp_path / "a").exists()


def test_the_folder_of_something_else_is_refused_and_left_alone(tmp_path):
    search.run(square, XS[:3], tmp_path / "a", n_jobs=1)
    before = sorted((p, p.read_bytes()) for p in (tmp_path / "a").rglob("*") if p.is_file())
    other = [{"x": 0}, {"x": 7}]
    with pytest.raises(ValueError, match=r"its trial 1 has {'x': 1}, not {'x': 7}; give this one"):
        search.run(square, other, tmp_path / "a", n_jobs=1)
    with pytest.raises(ValueError, match=r"another search: of 'square', not of 'print'"):
        search.run(print, XS[:3], tmp_path / "a", n_jobs=1)
    after = sorted((p, p.read_bytes()) for p in (tmp_path / "a").rglob("*") if p.is_file())
    assert after == before
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.tex").touch()
    with pytest.raises(ValueError, match=r"neither empty nor that of a search: it holds 'thesis"):
        search.run(square, XS, tmp_path / "b", n_jobs=1)
    for text in ('{"half', "[]", '{"x": 1}'):
        (tmp_path / "a" / "search.json").write_text(text)
        with pytest.raises(ValueError, match=r"search\.json is damaged, or not that of a search"):
            search.run(square, XS, tmp_path / "a", n_jobs=1)


def test_a_damaged_file_is_said_and_its_trial_run_again(tmp_path, capsys):
    trials = search.run(square, XS, tmp_path, n_jobs=1)
    whole = (tmp_path / "trials" / "2.json").read_text()
    other = json.loads((tmp_path / "trials" / "5.json").read_text())
    for wrong in ({"index": 4}, {"config": {"x": 7}}, {"metrics": None}):
        (tmp_path / "trials" / "5.json").write_text(json.dumps(other | wrong))
        (trial,) = search.run(square, XS, tmp_path, n_jobs=1)[5:]
        assert (trial.index, trial.config, trial.metrics) == (5, {"x": 5}, trials[5].metrics)
    assert capsys.readouterr().err.count("5.json is damaged") == 3
    (tmp_path / "trials" / "2.json").write_text(whole[: len(whole) // 2])
    (tmp_path / "trials" / "4.json").write_text('{"index": 4}')
    (tmp_path / "trials" / ".3.json-17").write_text("left by a killed process")
    again = search.run(square, XS, tmp_path, n_jobs=1)
    assert [t.metrics for t in again] == [t.metrics for t in trials]
    told = capsys.readouterr().err
    assert "2.json is damaged: trial 2 is run again" in told
    assert told.count("is damaged") == 2


def test_results_of_workers_that_do_not_see_the_folder_are_written_at_home(tmp_path, monkeypatch):
    elsewhere = Folder(tmp_path / "not here", "identity")
    assert work(square, Job(elsewhere, 0, {"x": 5}), False).metrics["loss"] == 4
    assert not elsewhere.path.exists()
    with monkeypatch.context() as patch:
        patch.setattr(Folder, "is_here", lambda self: False)
        trials = search.run(square, XS, tmp_path / "found", n_jobs=1)
    assert len(rows(tmp_path / "found")) == 6
    assert search.run(square, XS, tmp_path / "found", n_jobs=1) == trials


def test_wrong_requests_are_refused(tmp_path, monkeypatch):
    with pytest.raises(TypeError, match="train is 3, but must be a function"):
        search.run(3, XS, tmp_path)
    monkeypatch.setitem(sys.modules, "joblib", None)
    monkeypatch.setitem(sys.modules, "distributed", None)
    for options, name in (({}, "joblib"), ({"scheduler": "tcp://127.0.0.1:1"}, "distributed")):
        with pytest.raises(ImportError, match=rf"needs {name}: pip install 'symrnn\[search\]'"):
            search.run(square, XS, tmp_path / name, **options)


def test_the_bar_shows_the_best_value_and_failures(tmp_path, capsys):
    def train(config):
        return {"loss": 1 / config["x"]}

    search.run(train, XS, tmp_path, n_jobs=1, metric="loss", progress=True)
    shown = capsys.readouterr().err
    assert "6/6" in shown
    assert "best loss 0.2, 1 failed" in shown


# Several processes. What they do is written into a log by the processes themselves. Trials from a
# certain one on wait until the test lets them go, so that nothing depends on how fast they are.

SCRIPT = """
import functools, os, pathlib, sys, time
from symrnn import search
from tqdm import tqdm

here = pathlib.Path(__file__).parent

def note(text):
    with open(here / "log", "a") as file:
        file.write(text + "\\n")

@functools.cache
def compiled():
    note(f"compiled by {os.getpid()}")
    return lambda x: x**2

def train(config):
    k = config["k"]
    f = compiled()
    for _ in tqdm(range(3)):  # whose lock is a semaphore that has to be tidied up
        pass
    note(f"start {k} {os.getpid()}")
    while k >= 4 and not (here / "go").exists():
        time.sleep(0.005)
    note(f"end {k} {os.getpid()}")
    return {"loss": f(k)}

if __name__ == "__main__":
    options = {"n_jobs": 2} if len(sys.argv) == 1 else {"scheduler": sys.argv[1]}
    trials = search.run(train, [{"k": k} for k in range(10)], here / "found", **options)
    assert [t.metrics for t in trials] == [{"loss": k**2} for k in range(10)], trials
    assert not any(t.error for t in trials)
"""
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}


class Script:
    """A search in processes of its own, which can be killed."""

    def __init__(self, folder):
        self.folder, self.processes = folder, []
        (folder / "script.py").write_text(SCRIPT)

    def start(self, *arguments):
        leaks = "default::UserWarning:multiprocessing.resource_tracker"  # it swallows errors
        options = ["-W", "error", "-W", leaks]
        process = subprocess.Popen(
            [sys.executable, *options, str(self.folder / "script.py"), *arguments],
            env=ENVIRONMENT, start_new_session=True, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.processes.append(process)
        return process

    def log(self, kind):
        """What was noted: for each trial the processes."""
        path, noted = self.folder / "log", {}
        for line in path.read_text().splitlines() if path.exists() else []:
            what, k, pid = line.split()
            if what == kind:
                noted.setdefault(int(k) if k != "by" else k, []).append(int(pid))
        return noted

    def wait_for(self, kind, *trials):
        until(lambda: set(trials) <= set(self.log(kind)))

    def go(self):
        (self.folder / "go").touch()

    def finished(self):
        return {int(p.stem) for p in (self.folder / "found" / "trials").glob("[0-9]*.json")}

    def check_whole(self):
        """Every trial came to its end exactly once, and the table has all of them."""
        assert {k: len(pids) for k, pids in self.log("end").items()} == dict.fromkeys(range(10), 1)
        table = rows(self.folder / "found")
        assert [(int(r["index"]), int(r["loss"])) for r in table] == [(k, k**2) for k in range(10)]


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)


@pytest.fixture
def script(tmp_path):
    pytest.importorskip("joblib")
    script = Script(tmp_path)
    yield script
    script.go()
    for process in script.processes:
        with suppress(ProcessLookupError):  # the process, and workers that outlived it
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def finish(process, killed=False):
    """Wait for a search to end without an error; a worker that was killed leaves a semaphore."""
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    if killed:  # the second line of the warning is the one in Python's source that gave it
        warning = r".*UserWarning: resource_tracker: .* leaked semaphore .*\n(?: .*\n)?"
        errors = re.sub(warning, "", errors)
    lines = errors.splitlines()
    assert [line for line in lines if ": this search waits for it" not in line] == []
    return lines


@pytest.mark.slow
def test_several_processes_find_what_one_finds_and_load_the_function_once_each(script):
    script.go()
    finish(script.start())
    script.check_whole()
    processes = {pid for pids in script.log("end").values() for pid in pids}
    assert len(processes) == 2
    assert {k: len(pids) for k, pids in script.log("compiled").items()} == {"by": 2}


def test_killing_the_main_process_loses_nothing_and_its_workers_need_not_be_waited_for(script):
    main = script.start()
    script.wait_for("start", 4, 5)
    main.kill()
    main.wait()
    assert script.finished() == {0, 1, 2, 3}
    again = script.start()
    script.wait_for("start", 6, 7)  # 4 and 5 are still being run by the orphans
    script.go()
    for line in finish(again):
        trial, process = re.match(r"trial (\d+) is being run by process (\d+) on", line).groups()
        assert int(process) == script.log("start")[int(trial)][0]
    script.check_whole()
    assert {len(pids) for pids in script.log("start").values()} == {1}


def test_killing_everything_loses_only_what_was_under_way(script):
    main = script.start()
    script.wait_for("start", 4, 5)
    os.killpg(main.pid, signal.SIGKILL)
    main.wait()
    assert script.finished() == {0, 1, 2, 3}
    script.go()
    finish(script.start())
    script.check_whole()
    runs = {k: len(pids) for k, pids in script.log("start").items()}
    assert runs == dict.fromkeys(range(10), 1) | {4: 2, 5: 2}


def test_killing_a_worker_disturbs_no_other_trial(script):
    main = script.start()
    script.wait_for("start", 4, 5)
    os.kill(script.log("start")[4][0], signal.SIGKILL)
    script.wait_for("start", 6)
    script.go()
    finish(main, killed=True)
    script.check_whole()
    runs = {k: len(pids) for k, pids in script.log("start").items()}
    assert runs == dict.fromkeys(range(10), 1) | {4: 2}
    processes = {pid for pids in script.log("start").values() for pid in pids}
    assert len(script.log("compiled")["by"]) == len(processes) == 3  # once in each


@pytest.mark.slow
def test_two_searches_at_once_share_the_work(script):
    first, second = script.start(), script.start()
    script.wait_for("start", 4, 5, 6, 7)
    script.go()
    finish(first)
    finish(second)
    script.check_whole()


def test_ctrl_c_stops_the_workers_and_says_how_to_go_on(script):
    main = script.start()
    script.wait_for("start", 4, 5)
    os.killpg(main.pid, signal.SIGINT)  # as a terminal does, to all of them
    _, errors = main.communicate(timeout=60)
    assert main.returncode == -signal.SIGINT
    assert errors.count("Traceback") == 1
    found = script.folder / "found"
    assert f"stopped: 4 of 10 trials are finished and kept in {found}; the same call" in errors
    assert [int(r["k"]) for r in rows(found)] == [0, 1, 2, 3]
    for pids in script.log("start").values():
        until(lambda pid=pids[0]: not is_alive(pid))
    script.go()
    finish(script.start())
    script.check_whole()


def test_ctrl_c_in_a_training_stops_a_search_in_this_process(tmp_path):
    def train(config):
        def press(step, loss):
            if config["x"] == 1 and step == 2:
                os.kill(os.getpid(), signal.SIGINT)

        history = training.train(
            lambda x: 1.0, [(np.ones(1),)], steps=9, each_step=press, progress=False
        )
        return {"steps": len(history.loss)}

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        search.run(train, XS, tmp_path, n_jobs=1)
    assert signal.getsignal(signal.SIGINT) is before
    assert [p.name for p in (tmp_path / "trials").glob("*.json")] == ["0.json"]


def test_ctrl_c_leaves_no_half_trained_trial_of_another_process(tmp_path):
    pytest.importorskip("joblib")

    def train(config):
        def press(step, loss):
            os.kill(os.getpid(), signal.SIGINT)

        history = training.train(
            lambda x: 1.0, [(np.ones(1),)], steps=9, each_step=press, progress=False
        )
        return {"steps": len(history.loss)}

    trials = search.run(train, XS[:2], tmp_path, n_jobs=2)
    assert [t.metrics for t in trials] == [{"steps": 9}] * 2


def is_alive(pid):
    """Whether a process runs; one that has ended and waits to be noticed does not."""
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc").exists():
        return stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_trial_that_kills_every_process_is_recorded_and_the_others_go_on(tmp_path):
    pytest.importorskip("joblib")

    def train(config):
        with open(tmp_path / "log", "a") as file:
            file.write(f"{config['k']}\n")
        if config["k"] == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return {"loss": config["k"]}

    configs = [{"k": k} for k in range(6)]
    trials = search.run(train, configs, tmp_path / "found", n_jobs=2)
    assert [t.index for t in trials if t.error] == [1]
    assert trials[1].error == "TerminatedWorkerError: each process that ran it was killed"
    assert Counter((tmp_path / "log").read_text().split()) == Counter("0112345")
    assert search.run(train, configs, tmp_path / "found", n_jobs=2) == trials
    assert [r["k"] for r in rows(tmp_path / "found") if r["error"]] == ["1"]


def test_a_function_that_cannot_travel_is_refused(tmp_path):
    pytest.importorskip("joblib")
    file = (tmp_path / "open").open("w")
    with file, pytest.raises(TypeError, match="train cannot be sent to other processes"):
        search.run(lambda config: {"loss": file.name}, XS, tmp_path / "found", n_jobs=2)


# The same on a cluster


@contextmanager
def cluster(folder, n_workers=2):
    """A scheduler and workers, each a process; give the address and the processes."""
    pytest.importorskip("distributed")
    file, processes = folder / "scheduler.json", []

    def start(*command):
        process = subprocess.Popen(
            [sys.executable, "-m", "dask", *command, "--no-dashboard"],
            env=ENVIRONMENT | {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1"},
            stderr=subprocess.DEVNULL, cwd=folder,
        )  # fmt: skip
        processes.append(process)

    def address():  # the file is there before all of it is written
        with suppress(OSError, ValueError):
            return json.loads(file.read_text())["address"]

    try:
        start("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file))
        until(address)
        for _ in range(n_workers):
            start("worker", address(), "--nthreads", "1", "--no-nanny")
        yield address(), processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.slow
def test_a_cluster_finds_the_same_and_loads_the_function_once_in_each_worker(script):
    script.go()
    with cluster(script.folder) as (address, _):
        finish(script.start(address))
    script.check_whole()
    assert {k: len(pids) for k, pids in script.log("compiled").items()} == {"by": 2}


@pytest.mark.slow
def test_killing_the_main_process_of_a_cluster_loses_nothing(script):
    with cluster(script.folder) as (address, _):
        main = script.start(address)
        script.wait_for("start", 4, 5)
        main.kill()
        main.wait()
        assert {0, 1, 2, 3} <= script.finished()
        again = script.start(address)
        script.go()
        finish(again)
    script.check_whole()
    assert {len(pids) for pids in script.log("start").values()} == {1}


@pytest.mark.slow
def test_killing_a_worker_of_a_cluster_loses_only_what_it_ran(script):
    with cluster(script.folder) as (address, _):
        main = script.start(address)
        script.wait_for("start", 4)
        os.kill(script.log("start")[4][0], signal.SIGKILL)
        script.go()
        finish(main)
    script.check_whole()


@pytest.mark.slow
def test_when_the_scheduler_is_killed_the_search_says_so_and_can_go_on(script):
    with cluster(script.folder) as (address, processes):
        main = script.start(address)
        script.wait_for("start", 4, 5)
        processes[0].kill()
        _, errors = main.communicate(timeout=60)
        assert "ConnectionError: the scheduler has stopped. What was finished is kept" in errors
    script.go()
    finish(script.start())
    script.check_whole()


@pytest.mark.slow
def test_a_trial_that_kills_workers_of_a_cluster_is_recorded(tmp_path):
    def train(config):
        if config["k"] == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return {"loss": config["k"]}

    configs = [{"k": k} for k in range(6)]
    with cluster(tmp_path, n_workers=4) as (address, _):
        trials = search.run(train, configs, tmp_path / "found", scheduler=address)
    assert [t.index for t in trials if t.error] == [1]
    assert trials[1].error.startswith("KilledWorker: ")
    assert [t.metrics for t in trials if not t.error] == [{"loss": k} for k in (0, 2, 3, 4, 5)]


@pytest.mark.slow
def test_where_no_scheduler_or_no_worker_is_the_search_says_so(tmp_path):
    pytest.importorskip("distributed")
    with pytest.raises(ConnectionError, match=r"no Dask scheduler answers at 'tcp://127.0.0.1:1'"):
        search.run(square, XS, tmp_path / "found", scheduler="tcp://127.0.0.1:1")
    with (
        cluster(tmp_path, n_workers=0) as (address, _),
        pytest.raises(ConnectionError, match="has no workers: start some"),
    ):
        search.run(square, XS, tmp_path / "found", scheduler=address)
