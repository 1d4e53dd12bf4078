"""How long 10,000 sums take the net of lessons 5 and 6: a NumPy loop, calls, one scan, minibatches.

    python benchmarks/binary_addition.py [--rounds 5] [--mode NUMBA]

16 sigmoid units, 8 bits, float64, plain gradient descent. All ways start from the same weights and,
a sum a step, end with the same ones; the largest difference is printed. The ways take turns in each
round; medians, and the quotient to the NumPy loop of the same rounds.
"""

import argparse
import importlib.util
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy: its products are tiny

import numpy as np
import pytensor
import pytensor.tensor as pt

import symrnn as sr
from symrnn.tasks.binary_addition import binary_addition

N_SUMS, LEARNING_RATE = 10_000, 0.1
LESSON_5 = Path(__file__).parents[1] / "tutorials" / "05_binary_addition.py"


def loop_of_lesson_5() -> Any:
    """The gradient by hand that lesson 5 teaches."""
    spec = importlib.util.spec_from_file_location("lesson_05", LESSON_5)
    assert spec is not None
    assert spec.loader is not None
    sys.path.insert(0, str(LESSON_5.parent))  # it imports _lesson
    lesson = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(lesson)
    return lesson.by_hand


class Net(sr.Module):
    """The net's graph for batches of one size."""

    def __init__(self, batch: int) -> None:
        rng, start = np.random.default_rng(1), partial(sr.initializers.normal, std=1.0)
        self.x = pt.tensor("x", shape=(8, batch, 2), dtype="float64")
        self.t = pt.tensor("t", shape=(8, batch, 1), dtype="float64")
        self.cell = sr.ElmanCell(
            2, 16, rng=rng, activation="sigmoid", W_x=start, W_h=start, bias=False
        )
        self.output = sr.Dense(16, 1, rng=rng, W=start, bias=False)
        self.start = [p.get_value() for p in self.params]
        y = pt.sigmoid(self.output(sr.unroll(self.cell, self.x)[0]))
        # the mean over the batch, so that one learning rate does for all sizes
        self.cost = sr.sum_squared_error(y, self.t) / 2 / batch
        self.updates = sr.gradient_descent(self.cost, self.params, LEARNING_RATE)
        sums = binary_addition(N_SUMS, rng=np.random.default_rng(2))
        self.data = [a.reshape(8, -1, batch, a.shape[2]).swapaxes(0, 1).copy() for a in sums]

    def weights(self) -> list[Any]:
        """The weights as they are now; puts those of the start back."""
        now = [p.get_value() for p in self.params]
        for p, value in zip(self.params, self.start, strict=True):
            p.set_value(value)
        return now


def numpy_loop(net: Net, by_hand: Callable[..., Any]) -> list[Any]:
    """Train by lesson 5's loops."""
    weights = net.start
    for x, t in zip(*net.data, strict=True):
        _, *gradients = by_hand(x, t, *weights)
        weights = [w - LEARNING_RATE * g for w, g in zip(weights, gradients, strict=True)]
    return weights


def calls(net: Net, step: Any) -> list[Any]:
    """Call a compiled step for each sum."""
    for x, t in zip(*net.data, strict=True):
        step(x, t)
    return net.weights()


def one_call(net: Net, steps: Any) -> list[Any]:
    """Call a function that makes all steps."""
    steps(*net.data)
    return net.weights()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mode", default="NUMBA")
    arguments = parser.parse_args()
    net, mode = Net(1), arguments.mode
    ways: dict[str, Callable[[], list[Any]]] = {
        "NumPy loop": partial(numpy_loop, net, loop_of_lesson_5())
    }
    step = pytensor.function([net.x, net.t], net.cost, updates=net.updates, mode=mode)
    ways["a call a step"] = partial(calls, net, step)
    for batch in (1, 10, 100):
        one = net if batch == 1 else Net(batch)
        steps = sr.compile_many_steps([one.x, one.t], one.cost, one.updates, mode=mode)
        name = "many steps in a call" + (f", batches of {batch}" if batch > 1 else "")
        ways[name] = partial(one_call, one, steps)
    ends = {name: way() for name, way in ways.items()}  # numba compiles here
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(arguments.rounds):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            times[name].append(time.perf_counter() - started)
    print(f"{N_SUMS} sums, mode {mode}, medians of {arguments.rounds} rounds")
    for name, seconds in times.items():
        pairs = zip(seconds, times["NumPy loop"], strict=True)
        quotient = median(own / loop for own, loop in pairs)
        print(f"{name:<38} {median(seconds):7.3f} s, {quotient:6.3f} of the NumPy loop's")
    same = ("a call a step", "many steps in a call")
    differences = [
        abs(a - b).max()
        for name in same
        for a, b in zip(ends[name], ends["NumPy loop"], strict=True)
    ]
    print(f"largest difference of the final weights from the loop's: {max(differences):.1e}")


if __name__ == "__main__":
    main()
