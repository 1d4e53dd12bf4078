"""Hyper-parameter search: try many configurations of a training, on all cores or on a cluster.

>>> import tempfile, numpy as np
>>> from symrnn import search
>>> def train(config):  # any function: a dictionary in, a dictionary out
...     return {"loss": (config["rate"] - 0.1) ** 2}
>>> space = {"rate": search.log_uniform(1e-4, 1), "hidden": [8, 16]}
>>> configs = search.random(space, 20, np.random.default_rng(1))
>>> with tempfile.TemporaryDirectory() as folder:
...     trials = search.run(train, configs, folder, n_jobs=1)
>>> round(search.best(trials, "loss").config["rate"], 4)
0.1003

`grid` and `random` make lists of configurations; a list made by hand is as good. `run` calls the
function for each. The result of a trial is on disk before anything else happens, so a search that
is killed loses nothing that was finished: the same call goes on with the rest.

Several processes need ``pip install "symrnn[search]"``; with ``n_jobs=1`` nothing more is needed.
"""

from symrnn.search.configs import grid, integers, log_uniform, random, uniform
from symrnn.search.results import Trial, average, best
from symrnn.search.searching import run

__all__ = [
    "Trial",
    "average",
    "best",
    "grid",
    "integers",
    "log_uniform",
    "random",
    "run",
    "uniform",
]
