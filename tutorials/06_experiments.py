"""Lesson 6: experiments - change one thing, and see what makes a recurrent net learn

What you learn
    What learning rate, initial weights, number of units and activation do to the net of lesson 5;
    why the same net explodes with ReLU and fails in most runs with tanh, and what mends it. How to
    make hundreds of thousands of training steps in a minute: a training is a scan, too.

What you should see
    Five numbered parts, a table of all variants, and two figures: 06_variants.png and
    06_fixed.png.

How long it takes (measured on two cores)
    About 40 seconds; the first time two minutes more, since three graphs are compiled to machine
    code. With --quick 6 seconds.

What you need to know
    NumPy, and lessons 0 to 2, 4 and 5.

The file is a script and a notebook: editors that know `# %%` cells open it as one. There, run the
cells from the top; the last one runs the whole lesson.
"""

# %%
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import _lesson
import matplotlib.pyplot as plt
import numpy as np
import pytensor
import pytensor.tensor as pt

import symrnn as sr
from symrnn import explain, initializers, plots
from symrnn.tasks.binary_addition import binary_addition

# %% [markdown]
# ## 1. The net, and what can be changed
#
# It is the first net of lesson 5, which adds two numbers bit by bit:
#
#     h_t = phi(x_t W_x + h_{t-1} W_h)          y_t = sigmoid(h_t W_y)
#     C   = 1/2 * sum over t of (y_t - t_t)^2
#
# In each variant one setting is changed. Everything else stays the same: one new sum in each step,
# plain gradient descent, 10,000 steps. Each variant runs with several seeds, for one run may be
# luck. Two numbers are kept: how many of the last 1000 sums were right in all bits, and their mean
# cost.


# %%
def one_over_root_n(rng: Any, shape: Any) -> Any:
    """``N(0, 1 / n_in)``, which is often called Xavier, too."""
    return initializers.normal(rng, shape, std=1 / np.sqrt(shape[0]))


INITIAL: dict[str, initializers.Initializer] = {
    "std 0.5": partial(initializers.normal, std=0.5),
    "std 1": partial(initializers.normal, std=1.0),
    "std 2": partial(initializers.normal, std=2.0),
    "Xavier": initializers.xavier_normal,  # std = sqrt(2 / (n_in + n_out))
    "1 / sqrt(n)": one_over_root_n,
    "He": initializers.he_normal,  # std = sqrt(2 / n_in)
}
NO_LIMIT = 1e30


@dataclass(frozen=True)
class Settings:
    """What can be changed; the defaults are the net of lesson 5."""

    learning_rate: float = 0.1
    initial: str = "std 1"  # of all weights ...
    identity: bool = False  # ... but if True, W_h starts as the identity
    n_hidden: int = 16
    activation: str = "sigmoid"
    max_norm: float = NO_LIMIT  # gradients longer than this are cut to it


BASE = Settings()
VARIANTS = {
    "learning_rate": [replace(BASE, learning_rate=r) for r in (0.01, 0.1, 1.0, 3.0)],
    "initial": [replace(BASE, initial=i) for i in INITIAL],
    "n_hidden": [
        *(replace(BASE, n_hidden=n) for n in (8, 16, 32, 128)),
        *(replace(BASE, n_hidden=128, initial=i) for i in ("He", "Xavier")),
    ],
    "activation": [replace(BASE, activation=a) for a in ("sigmoid", "tanh", "relu")],
}

# %% [markdown]
# ## 2. A training is a scan
#
# The net is so small that calling a compiled function takes longer than what it computes. So the
# loop over the training steps goes into the graph as well. It fits: a training is a recurrence,
#
#     weights_k = update(weights_{k-1}, sum_k)       k = 1 ... 10,000
#
# with the weights as its state and a new sum as its input at each step. And the step contains a
# scan already, that over the bits. `compile_many_steps` builds this outer scan from what
# `symrnn.function` would get: inputs, outputs and updates.
#
# Learning rate and limit of the gradient are inputs of the function, and the weights are shared
# variables, whose values, and sizes, are set before a run. So one compiled function serves all
# variants; only an activation needs a function of its own.


# %%
class Trainer(sr.Module):
    """The net with one activation: its graph, and the function that trains it."""

    def __init__(self, activation: str, mode: Any) -> None:
        # that there is one sum in a batch is said here, so that products with vectors are compiled
        x = pt.tensor("x", shape=(None, 1, 2), dtype="float64")  # (time, batch, both bits)
        t = pt.tensor("t", shape=(None, 1, 1), dtype="float64")
        learning_rate, max_norm = pt.dscalar("learning_rate"), pt.dscalar("max_norm")
        rng = np.random.default_rng(0)  # for values that each run sets anew
        self.cell = sr.ElmanCell(2, 16, rng=rng, activation=activation, bias=False)
        self.output = sr.Dense(16, 1, rng=rng, bias=False)
        h, _ = sr.unroll(self.cell, x)
        y = pt.sigmoid(self.output(h))
        cost = sr.sum_squared_error(y, t) / 2
        right = pt.all(pt.eq(y > 0.5, t > 0.5))
        gradients = sr.clip_by_global_norm(pytensor.grad(cost, self.params), max_norm)
        updates = sr.gradient_descent(gradients, self.params, learning_rate)
        self.run = sr.compile_many_steps(
            [x, t], [cost, right], updates, constants=[learning_rate, max_norm], mode=mode
        )
        self.x, self.h = x, h

    def start(self, settings: Settings, rng: np.random.Generator) -> None:
        """Set new weights."""
        n, draw = settings.n_hidden, INITIAL[settings.initial]
        draws = [draw, initializers.identity if settings.identity else draw, draw]
        for w, initial, shape in zip(self.params, draws, [(2, n), (n, n), (n, 1)], strict=True):
            w.set_value(initial(rng, shape))


def sums(rng: np.random.Generator, n_steps: int) -> tuple[Any, Any]:
    """One sum for each step: arrays (steps, time, batch 1, features)."""
    x, t = binary_addition(n_steps, rng=rng)
    return x.transpose(1, 0, 2)[:, :, None], t.transpose(1, 0, 2)[:, :, None]


class Laboratory:
    """Trains variants, each with all seeds."""

    def __init__(self, seeds: range, n_steps: int, mode: Any) -> None:
        self.seeds, self.n_steps, self.mode = seeds, n_steps, mode
        self.trainers: dict[str, Trainer] = {}
        self.done: dict[Settings, tuple[Any, Any]] = {}
        self.seconds = 0.0

    def trainer(self, activation: str) -> Trainer:
        """The net with this activation, compiled when it is first needed."""
        if activation not in self.trainers:
            trainer = self.trainers[activation] = Trainer(activation, self.mode)
            trainer.start(BASE, np.random.default_rng(0))
            trainer.run(*sums(np.random.default_rng(0), 2), 0.1, NO_LIMIT)  # numba compiles here
        return self.trainers[activation]

    def __call__(self, settings: Settings) -> tuple[Any, Any]:
        """Return costs, and which sums were right, each (seeds, steps)."""
        if settings not in self.done:
            trainer, runs = self.trainer(settings.activation), []
            started = time.perf_counter()
            for seed in self.seeds:
                rng = np.random.default_rng(seed)
                trainer.start(settings, rng)
                x, t = sums(rng, self.n_steps)
                runs.append(trainer.run(x, t, settings.learning_rate, settings.max_norm))
            self.seconds += time.perf_counter() - started
            costs, right = zip(*runs, strict=True)
            self.done[settings] = np.array(costs), np.array(right)
        return self.done[settings]


# %% [markdown]
# ## 3. All variants
#
# What one sees, and why:
#
# - **Learning rate.** 0.01 is too slow for 10,000 steps. 1 and 3 are faster than 0.1: sigmoids and
# squared
#   errors have small gradients, so steps can be large. But 3 is not safe, as the peak of its band
#   shows: one of the five runs had learned, diverged at a step after the 3000th, and needed
#   1500 more to learn again.
# - **Initial weights.** With too small ones all units are nearly alike, and for a long time the net
#   answers 1/2 to everything. That costs 8 times 1/8, where all curves begin. Xavier's formula
#   gives W_x a standard deviation of 0.33, and that is too small here; 1 / sqrt(n) makes the same
#   W_h, but W_x twice as large, and does better. Too large weights (2) put the sigmoids where they
#   are flat.
# - **Hidden units.** 8 suffice, 16 and 32 are a little faster. 128 with weights of standard
#   deviation 1 are far behind: each unit sums 128 terms, its sigmoid gets numbers around +-6 and is
#   flat. More units want smaller weights, but not too small ones: with He's formula 128 units
#   learn, with Xavier's they are worse off than before.
# - **Activation.** tanh and ReLU come off badly. But they were not given a fair chance: the
#   settings were chosen for sigmoid. Parts 4 and 5 are about that.


# %%
TITLES = {
    "learning_rate": "learning rate",
    "initial": "initial weights",
    "n_hidden": "hidden units",
    "activation": "activation",
}


def label(changed: str, settings: Settings) -> str:
    """A variant's name."""
    if changed == "learning_rate":
        return f"learning rate {settings.learning_rate:g}"
    if changed == "n_hidden":
        other = "" if settings.initial == BASE.initial else f", {settings.initial}"
        return f"{settings.n_hidden} units{other}"
    return str(getattr(settings, changed))


def last(costs: Any, right: Any, n: int = 1000) -> tuple[Any, Any]:
    """Exact-match accuracy in % and mean cost of the last n steps, each (seeds,)."""
    return 100 * right[:, -n:].mean(axis=1), costs[:, -n:].mean(axis=1)


def try_variants(laboratory: Laboratory) -> dict[str, tuple[Any, Any]]:
    """Run them all and print the table; return accuracy and cost of the last 1000 sums."""
    table = {}
    spread = "accuracy, %: mean (worst-best)   mean cost (best-worst)"
    print(f"  {'changed':<13}  {'variant':<20}{spread}")
    for changed, variants in VARIANTS.items():
        for settings in variants:
            right, cost = table[label(changed, settings)] = last(*laboratory(settings))
            print(
                f"  {changed:<13}  {label(changed, settings):<20}"
                f"{right.mean():6.1f} ({right.min():5.1f}-{right.max():5.1f})               "
                f"{cost.mean():8.4f} ({cost.min():.4f}-{cost.max():.4f})",
                flush=True,
            )
    return table


def draw_variants(laboratory: Laboratory) -> Any:
    """Costs of all variants over time: the median of the seeds, and a band of all."""
    figure, axes = plt.subplots(
        2, 2, figsize=(11, 8), sharex=True, sharey=True, layout="constrained"
    )
    width = max(1, laboratory.n_steps // 50)  # a point is the mean of so many steps
    steps = np.arange(width, laboratory.n_steps + 1, width)
    for ax, (changed, variants) in zip(axes.flat, VARIANTS.items(), strict=True):
        curves = {}
        for settings in variants:
            costs, _ = laboratory(settings)
            whole = costs[:, : len(steps) * width]
            curves[label(changed, settings)] = whole.reshape(len(costs), -1, width).mean(axis=2)
        plots.loss_bands(curves, ax=ax, steps=steps)
        ax.set(title=TITLES[changed], ylabel=f"mean cost of {width} sums")
        ax.legend(loc="lower left", fontsize="small")
        ax.label_outer()
    return figure


# %% [markdown]
# ## 4. Why ReLU explodes and tanh oscillates
#
# Going back one step, the gradient is multiplied by the derivative of phi and by W_h. For each net
# as it starts, the lesson prints
#
# - the largest derivative of phi: 1/4 for sigmoid, 1 for the two others;
# - the spectral radius of W_h, the size of its largest eigenvalue: what a long product of W_h grows
#   with;
# - the largest |h| at the last step;
# - by which factor the gradient of the last step's answer grows with each step back, as
#   `explain.gradient_flow` measures it.
#
# W_h of 16 units with standard deviation 1 has a spectral radius near sqrt(16) = 4. With sigmoid,
# whose derivative is at most 1/4, the product is at most about 1. The factor is smaller, since no
# unit sits exactly where the derivative is largest; over eight steps that is little enough loss.
# ReLU has derivative 1 wherever it is not 0. So its states grow with each bit, and gradients with
# them, until one step throws the weights so far that all outputs are 0 or 1, where the output's
# derivative is 0 and nothing can bring them back. tanh holds the states between -1 and 1, and where
# it is flat the derivatives are small. But states near -1 and 1 flip their sign at a small change
# of the weights: the cost goes up and down, and in four of five runs it does not get anywhere.


# %%
def look_at_the_start(laboratory: Laboratory) -> dict[str, Any]:
    """Print what part 4 says for each activation, medians of the seeds; return the factors."""
    found = {}
    x, _ = binary_addition(rng=np.random.default_rng(1))
    for activation, derivative in (("sigmoid", 0.25), ("tanh", 1.0), ("relu", 1.0)):
        growth, sizes, radii = [], [], []
        trainer = laboratory.trainer(activation)
        states = sr.function([trainer.x], trainer.h)
        for seed in laboratory.seeds:
            trainer.start(BASE, np.random.default_rng(seed))
            flow = explain.gradient_flow(trainer.h[-1].sum(), trainer.h, {trainer.x: x})
            growth.append((flow[0] / flow[-1]) ** (1 / (len(flow) - 1)))
            sizes.append(abs(states(x)[-1]).max())
            radii.append(abs(np.linalg.eigvals(trainer.cell.W_h.get_value())).max())
        growth, size, radius = (float(np.median(v)) for v in (growth, sizes, radii))
        found[activation] = growth
        print(
            f"  {activation:<8} derivative at most {derivative:<4}  spectral radius {radius:.1f}  "
            f"largest |h| {size:8.1f}  gradient times {growth:.2f} for each step back"
        )
    return found


# %% [markdown]
# ## 5. What mends them
#
# Each remedy is tried on its own, and some together:
#
# - **a lower learning rate**, 0.01: ReLU takes longer to explode, tanh moves less per step; neither
# learns.
# - **clipping**: a gradient longer than 1 is cut to length 1 (Pascanu et al., 2013). No single step
#   throws the weights far any more, but the states still grow or flip. It helps tanh in some runs,
#   but not reliably. (Without it tanh's runs come to anything between 1 and 99 %: after a hundred
#   steps two ways of rounding the same sums have grown into two different trainings.)
# - **smaller weights**, 1 / sqrt(n): spectral radius 1.
# - **the identity as W_h** (Le et al., 2015): what is in the state stays there, and the gradient
#   comes back as it went.
# - **one of these two, and clipping**.
#
# tanh needs no more than a W_h that neither grows nor shrinks what it carries. ReLU needs this and
# clipping: its states still have no upper limit. With the identity four or five of five runs
# succeed then: on one of them the rounding of the last digit decides.
#
# (The cost of those that succeed stays near 0.04, though all sums are right, and sigmoid's does
# not. The nets have no biases, and tanh(0) = ReLU(0) = 0. So as long as a sum has begun with
# nothing but 0 + 0, the output is sigmoid(0) = 1/2, whatever the weights are; it counts as a 0,
# which is right, and costs 1/8. The first column is 0 + 0 in 1/4 of all sums, the first two in
# 1/16, and so on: (1/4 + 1/16 + ...) / 8 = 1/24 = 0.042 on average.)

# %%
REMEDIES = {
    "as it was": {},
    "learning rate 0.01": {"learning_rate": 0.01},
    "clip at 1": {"max_norm": 1.0},
    "1 / sqrt(n)": {"initial": "1 / sqrt(n)"},
    "1 / sqrt(n), clip": {"initial": "1 / sqrt(n)", "max_norm": 1.0},
    "identity": {"identity": True},
    "identity, clip": {"identity": True, "max_norm": 1.0},
}


def mend(laboratory: Laboratory) -> dict[str, Any]:
    """Try the remedies; return the exact-match accuracy, (remedies, seeds), by activation."""
    found = {}
    for activation in ("tanh", "relu"):
        rows = []
        for remedy, change in REMEDIES.items():
            right, cost = last(*laboratory(replace(BASE, activation=activation, **change)))
            rows.append(right)
            each = "  ".join(f"{r:5.1f}" for r in right)
            print(
                f"  {activation:<5} {remedy:<18} accuracy in % by seed: {each}   "
                f"lowest mean cost {cost.min():.3f}",
                flush=True,
            )
        found[activation] = np.array(rows)
    return found


def draw_fixed(found: dict[str, Any]) -> Any:
    """One field for each run, coloured by the exact-match accuracy."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    for ax, (activation, right) in zip(axes, found.items(), strict=True):
        image = ax.imshow(right, vmin=0, vmax=100, cmap="Blues", aspect="auto")
        for row, column in np.ndindex(right.shape):
            colour = "white" if right[row, column] > 60 else "black"
            text = f"{right[row, column]:.0f}"
            ax.text(column, row, text, color=colour, ha="center", va="center")
        ax.set(title=activation, xlabel="seed", yticks=range(len(REMEDIES)))
        ax.set(yticklabels=REMEDIES, xticks=range(right.shape[1]))
        ax.set_xticklabels(range(1, right.shape[1] + 1))
    figure.colorbar(image, ax=axes, label="exact-match accuracy of the last sums, %")
    return figure


# %%
def main(
    mode: str | None = None,
    seed: int = 1,
    n_seeds: int = 5,
    n_steps: int = 10_000,
    figures: str = "figures",
    quick: bool = False,
) -> dict[str, Any]:
    """Run the lesson; return what its parts found."""
    _lesson.positive_option("--n-seeds", n_seeds)
    _lesson.positive_option("--n-steps", n_steps)
    folder = _lesson.figure_folder(figures, quick)
    if quick:
        n_seeds, n_steps = 1, max(1, n_steps // 400)
    seeds = range(seed, seed + n_seeds)
    laboratory = Laboratory(seeds, n_steps, mode or ("QUICK" if quick else "NUMBA"))

    print(f"1.-3. All variants, {n_seeds} seeds, {n_steps} sums each", flush=True)
    table = try_variants(laboratory)
    steps = len(laboratory.done) * n_seeds * n_steps
    each = 1e6 * laboratory.seconds / steps
    print(f"  {steps} steps in {laboratory.seconds:.1f} s: {each:.0f} microseconds each")
    _lesson.save_figure(draw_variants(laboratory), folder, "06_variants")

    print("\n4. Why ReLU explodes and tanh oscillates", flush=True)
    growth = look_at_the_start(laboratory)

    print("\n5. What mends them", flush=True)
    fixed = mend(laboratory)
    _lesson.save_figure(draw_fixed(fixed), folder, "06_fixed")
    _lesson.show_figures()
    return {"table": table, "growth": growth, "fixed": fixed}


if __name__ == "__main__":
    _lesson.run(
        main,
        help={
            "mode": "how PyTensor compiles (default: NUMBA; with --quick QUICK)",
            "seed": "of the first run; the others have the next numbers",
            "n_seeds": "how many runs of each variant",
            "n_steps": "how many sums a run sees",
            "figures": "folder for the figures",
            "quick": "a few sums, one seed",
        },
    )
