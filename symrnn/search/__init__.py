"""Hyperparameter search: try many configurations of a training, on all cores or on a cluster.

>>> import tempfile, numpy as np
>>> from symrnn import search
>>> def train(config):  # any function: a dictionary in, a dictionary out
...     return {"loss": (config["learning_rate"] - 0.1) ** 2}
>>> space = {"learning_rate": search.log_uniform(1e-4, 1), "n_hidden": [8, 16]}
>>> configs = search.random(space, 20, rng=np.random.default_rng(1))
>>> with tempfile.TemporaryDirectory() as folder:
...     trials = search.run(train, configs, folder, n_jobs=1)
>>> round(search.best(trials, "loss").config["learning_rate"], 4)
0.1003

`grid` and `random` make lists of configurations; a list made by hand works as well. `run` calls
the function once for each. The result of a trial is written to disk before anything else happens,
so a search that is killed loses no finished trial: the same call resumes it.

Several processes need ``pip install "symrnn[search]"``; ``n_jobs=1`` needs nothing more.
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
