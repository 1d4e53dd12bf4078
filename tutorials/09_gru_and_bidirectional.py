"""Lesson 9: GRU and reading in both directions - fewer weights, and a task that needs the future

What you learn
    What a GRU costs and brings beside LSTM and Elman: weights, time and error side by side. When a
    net has to read from both ends, and how well it can do at most if it does not. Why sequences of
    different lengths need a mask then.

What you should see
    Three numbered parts. On the adding problem the GRU does what the LSTM does with 3/4 of the
    weights. Where a letter's label depends on what comes before and after it, nets that read in
    one direction get 0.11 of the labels wrong, and none can get below 0.107; one that reads in both
    directions gets almost none wrong. Two figures: 09_side_by_side.png and 09_once.png.

How long it takes (measured on two cores)
    70 seconds, with nothing compiled before. With --quick 6 seconds.

What you need to know
    Lesson 3 has the equations of the GRU, lesson 8 the adding problem.

The file is a script and a notebook: editors that know `# %%` cells open it as one. There, run the
cells from the top; the last one runs the whole lesson.
"""

# %%
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy: small products, one thread

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import _lesson
import matplotlib.pyplot as plt
import numpy as np
import pytensor
import pytensor.tensor as pt

import symrnn as sr
from symrnn.tasks.adding import adding

BLUE, ORANGE, GREEN, GREY = "#2b6cb0", "#b7500f", "#2f7a4f", "#718096"
Rng = np.random.Generator


class Net(sr.Module):
    """Cells and an output, with functions for training and inference."""

    def __init__(
        self, new_parts: Callable[[Rng], list[Any]], graph: Callable[..., Any], mode: Any
    ) -> None:
        self.new_parts = new_parts  # rng -> cells and output
        self.parts = new_parts(np.random.default_rng(0))
        inputs, target, y, loss = graph(*self.parts)
        gradients = sr.clip_by_global_norm(pytensor.grad(loss, self.params), 1.0)
        self._updates = sr.adam(gradients, self.params, 0.02)
        self.step = sr.function([*inputs, target], loss, updates=self._updates, mode=mode)
        self.predict = sr.function(inputs, y)

    def start(self, rng: Rng) -> None:
        """Begin anew: new weights, and Adam's averages at 0."""
        for v in self._updates:
            v.set_value(np.zeros_like(v.get_value()))
        fresh = sr.Module(parts=self.new_parts(rng))
        for w, new in zip(self.params, fresh.params, strict=True):
            w.set_value(new.get_value())

    def train(self, rng: Rng, make: Callable[..., Any], n_updates: int, label: str) -> Any:
        """Begin anew, train on new batches from ``make(rng)``, and return the losses."""
        self.start(rng)

        def batches() -> Iterator[Any]:
            while True:
                yield make(rng)

        return np.array(sr.train(self.step, batches, steps=n_updates, label=label).loss)


def float32(*arrays: Any) -> tuple[Any, ...]:
    """Return the arrays as float32."""
    return tuple(a.astype("float32") for a in arrays)


# %% [markdown]
# ## 1. The GRU beside LSTM and Elman
#
# The three side by side, each on the adding problem of lesson 8 with 16 units:
#
#     Elman     h_t = tanh(z)                                                        1 sum
#     GRU       h_t = (1 - u_t) * n_t + u_t * h_{t-1}                                3 sums: r, u, n
#     LSTM      c_t = f_t * c_{t-1} + i_t * g_t,  h_t = o_t * tanh(c_t)              4: i, f, g, o
#
# Each sum has (n_in + n_hidden + 1) * n_hidden weights, so a GRU has 3/4 of the weights of an LSTM.
# (Its candidate has a second bias.) One gate u does what i and f do in the LSTM: what is not kept
# is replaced. So h stays between -1 and 1, however long the sequence: the memory cannot be filled
# up, as it could in lesson 8.
#
# There are two kinds of GRU. In that of the paper (Cho et al., 2014) the reset gate multiplies h
# before the product with W_hn; then no product can serve all three sums, and `unroll` has to take
# the scan's own gradient. The usual one, in cuDNN too, multiplies after the product.


# %%
def sum_graph(cell: Any, output: sr.Dense) -> Any:
    """Return inputs, target, answer and loss: the answer is read off after the last step."""
    x, t = pt.tensor3("x"), pt.matrix("t")
    h, _ = sr.unroll(cell, x)
    y = output(h[-1])
    return [x], t, y, sr.mean_squared_error(y, t)


CELLS = {
    "Elman": sr.ElmanCell,
    "LSTM": sr.LSTMCell,
    "GRU": sr.GRUCell,
    "GRU, reset before": partial(sr.GRUCell, reset="before"),
}


def sum_net(name: str, mode: Any) -> Net:
    """Return a net for the adding problem."""

    def parts(rng: Rng) -> list[Any]:
        return [CELLS[name](2, 16, rng=rng), sr.Dense(16, 1, rng=rng)]

    return Net(parts, sum_graph, mode)


def times(nets: dict[str, Net], batch: Any, rounds: int) -> dict[str, float]:
    """Return the time of a step of training in ms: the nets take turns of five steps each.

    Of each turn the fastest step counts, and of all turns the median. The weights are new. (In a
    trained Elman net errors can shrink in the backward pass to denormal numbers, below 1e-38, which
    processors are slow with: its steps then take up to three times as long.)
    """
    taken: dict[str, list[float]] = {name: [] for name in nets}
    for net in nets.values():
        net.start(np.random.default_rng(0))
    for name in [*nets] * rounds:
        turn = []
        for _ in range(5):
            start = time.perf_counter()
            nets[name].step(*batch)
            turn.append(1000 * (time.perf_counter() - start))
        taken[name].append(min(turn))
    return {name: float(np.median(turns)) for name, turns in taken.items()}


def smooth(losses: Any) -> Any:
    """Return means of 50 losses, each loss with the 49 before it."""
    n = min(50, len(losses))
    return np.convolve(losses, np.full(n, 1 / n), mode="valid")


def side_by_side(
    nets: dict[str, Net], seeds: Sequence[int], n_steps: int, n_updates: int
) -> dict[str, dict[str, Any]]:
    """Train each net from several starts; print and return weights, time and errors."""
    found: dict[str, dict[str, Any]] = {}

    def make(rng: Rng) -> Any:
        return float32(*adding(32, n_steps, rng=rng))

    for name, net in nets.items():
        losses, errors, solved = [], [], []
        for seed in seeds[:1] if name == "GRU, reset before" else seeds:  # that one is slow
            losses.append(net.train(np.random.default_rng(seed), make, n_updates, name))
            errors.append(float(losses[-1][-100:].mean()))  # of sequences never seen before
            below = np.flatnonzero(smooth(losses[-1]) < 0.01)
            first = len(losses[-1]) - len(smooth(losses[-1])) + 1
            solved.append(int(below[0]) + first if len(below) else None)
        found[name] = {"losses": losses, "error": errors, "solved": solved}
    rounds = 2 if n_updates < 100 else 10
    for name, ms in times(nets, make(np.random.default_rng(0)), rounds).items():
        found[name] |= {"ms": ms, "weights": nets[name].n_params}
    wide = 8 * len(seeds)
    print(f"  {'':<20}weights  ms a step  {'mean squared error':<{wide}}  below .01 after")
    for name, row in found.items():
        print(f"  {name:<20}{row['weights']:>7}{row['ms']:>11.2f}  ", end="")
        print(f"{''.join(f'{e:8.4f}' for e in row['error']):<{wide}}", end="  ")
        print("".join(f"{s or '-':>6}" for s in row["solved"]))
    return found


def draw_side_by_side(found: dict[str, dict[str, Any]]) -> Any:
    """Return a figure: losses, and bars of weights, time and steps needed."""
    colours = dict(zip(CELLS, (GREY, BLUE, ORANGE, GREEN), strict=True))
    figure, axes = plt.subplots(
        1, 4, figsize=(12.5, 4), width_ratios=(2.2, 1, 1, 1), layout="constrained"
    )
    for name, row in found.items():
        for k, losses in enumerate(row["losses"]):
            curve = smooth(losses)
            steps = np.arange(len(losses) - len(curve), len(losses))
            label = name if k == 0 else None
            axes[0].plot(steps, curve, color=colours[name], label=label, linewidth=1.3)
    axes[0].axhline(1 / 6, color="k", linestyle="--", linewidth=0.8)
    axes[0].axhline(0.01, color="k", linestyle=":", linewidth=0.8)
    axes[0].set(xlabel="step of training", ylabel="mean squared error", yscale="log")
    axes[0].set_title("adding problem; dashed: always saying the mean", fontsize=10)
    axes[0].legend(loc="lower left", frameon=False, fontsize=9)
    solved = {name: [s for s in row["solved"] if s is not None] for name, row in found.items()}
    heights = {
        "weights": [row["weights"] for row in found.values()],
        "ms a step of training": [row["ms"] for row in found.values()],
        "steps until below 0.01": [np.median(s) if s else 0 for s in solved.values()],
    }
    for ax, (title, values) in zip(axes[1:], heights.items(), strict=True):
        bars = ax.barh(range(len(found)), values, color=[colours[name] for name in found])
        texts = [f"{v:.2f}" if "ms" in title else f"{v:.0f}" if v else "never" for v in values]
        ax.bar_label(bars, texts, padding=3)
        ax.set_yticks(range(len(found)), [name.replace(", ", "\n") for name in found])
        ax.set_xticks([])
        ax.invert_yaxis()
        ax.set_title(title, fontsize=10)
        ax.margins(x=0.3)
    for ax in axes[2:]:
        ax.set_yticks([])
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return figure


# %% [markdown]
# *What to notice.* LSTM and GRU get below 0.01 from each start, the GRU after fewer steps. But that
# is one task and one setting: lesson 8 has shown what another start does to a cell with gates.
# Chung et al. (2014) compared both on music and speech and found that neither is better in general.
# A step of the GRU takes little less time than one of the LSTM: with 16 units the products are not
# all, and each gate has a sigmoid or tanh too. With the reset gate before the product the error is
# not smaller (that net is trained once only), and a step takes several times as long.
#
# ## 2. A task that needs the future
#
# 20 letters come in, drawn from a to j. At each step the net shall say whether this letter occurs
# only once in the whole sequence. Who reads from the left knows at step t (counted from 0) whether
# the letter has been there before, but not whether it will come again. A new letter does not come
# again with probability p_t = 0.9^(19-t), and nothing that has been read helps to know better. So
# the best that any net can do in one direction can be computed:
#
#     The letter is new with probability 0.9^t. Then the best is to say p_t, and that costs
#         H(p_t) = -p_t log p_t - (1 - p_t) log(1 - p_t)        cross-entropy, in nats
#         min(p_t, 1 - p_t)                                     wrong labels
#     Else the label is 0 for certain, and nothing is lost.
#
# From the right it is the same, with past and future exchanged. With two cells, one for each
# direction, each step knows both (Schuster and Paliwal, 1997).
#
#     h_t    = cell(x_t, h_{t-1})        unroll(cell, x)
#     k_t    = cell'(x_t, k_{t+1})       unroll(cell', x, reverse=True)
#     [h_t k_t]                          bidirectional(cell, cell', x)


# %%
N_LETTERS = 10


def best_in_one_direction(n_steps: int) -> tuple[float, float]:
    """Return the least possible cross-entropy and share of wrong labels, means over all steps."""
    new = (1 - 1 / N_LETTERS) ** np.arange(n_steps)  # the letter has not been there before
    p = new[::-1]  # and will not come again
    q = np.maximum(1 - p, 1e-300)  # at the last step p is 1, and 0 log 0 is 0
    entropy = -p * np.log(p) - (1 - p) * np.log(q)
    return float((new * entropy).mean()), float((new * np.minimum(p, 1 - p)).mean())


def once(rng: Rng, n_samples: int, n_steps: int) -> tuple[Any, Any, Any]:
    """Return letters as x (time, samples, 10), a mask of ones, labels (time, samples)."""
    x = np.eye(N_LETTERS)[rng.integers(N_LETTERS, size=(n_steps, n_samples))]
    return float32(x, np.ones((n_steps, n_samples)), labels(x))


def labels(x: Any) -> Any:
    """Return 1 where a letter occurs once only."""
    return (x * (x.sum(axis=0) == 1)).sum(axis=2)


def once_graph(*parts: Any, reverse: bool = False) -> Any:
    """Return inputs, target, answer and loss: an answer at each step."""
    x, mask, t = pt.tensor3("x"), pt.matrix("mask"), pt.matrix("t")
    *cells, output = parts
    if len(cells) == 2:
        h, _ = sr.bidirectional(*cells, x, mask=mask)
    else:
        h, _ = sr.unroll(cells[0], x, mask=mask, reverse=reverse)
    z = output(h)  # (time, batch)
    return [x, mask], t, pt.sigmoid(z), sr.binary_cross_entropy(z, t, mask=mask)


def one_way(rng: Rng) -> list[Any]:
    """Return a GRU of 36 units, which has as many weights as two of 24, and an output."""
    return [sr.GRUCell(N_LETTERS, 36, rng=rng), sr.Dense(36, 1, rng=rng, squeeze=True)]


def both_ways(rng: Rng) -> list[Any]:
    """Return two GRUs of 24 units and an output."""
    cells = [sr.GRUCell(N_LETTERS, 24, rng=rng) for _ in range(2)]
    return [*cells, sr.Dense(48, 1, rng=rng, squeeze=True)]


WAYS: dict[str, tuple[Any, Any]] = {
    "from the left": (one_way, once_graph),
    "from the right": (one_way, lambda *parts: once_graph(*parts, reverse=True)),
    "both": (both_ways, once_graph),
}


def wrong(p: Any, t: Any) -> Any:
    """Return where the more probable label is not the right one."""
    return (p > 0.5) != (t > 0.5)


def needs_the_future(
    nets: dict[str, Net], seed: int, n_steps: int, n_updates: int
) -> dict[str, dict[str, Any]]:
    """Train each net; print and return cross-entropies and wrong labels of new sequences."""
    found: dict[str, dict[str, Any]] = {}

    def make(rng: Rng) -> Any:
        return once(rng, 64, n_steps)

    print(f"  {'reads':<20}weights  cross-entropy  wrong labels", flush=True)
    for name, net in nets.items():
        losses = net.train(np.random.default_rng(seed), make, n_updates, name)
        x, mask, t = once(np.random.default_rng(0), 2000, n_steps)
        p = np.clip(net.predict(x, mask).astype(float), 1e-9, 1 - 1e-9)
        nats = float(-(t * np.log(p) + (1 - t) * np.log(1 - p)).mean())
        share = float(wrong(p, t).mean())
        found[name] = {"nats": nats, "wrong": share, "losses": losses}
        print(f"  {name:<20}{net.n_params:>7}{nats:>15.4f}{share:>14.4f}", flush=True)
    return found


# %% [markdown]
# *What to notice.* From either side there are 0.237 nats, where 0.2295 is the least possible, and
# 0.108 wrong labels, where 0.1068 is. More training would only close this small gap; the large one,
# to the net that reads in both directions, stays. It has no more weights than the others. In the
# picture the bars end near the lines: a net that cannot know has learnt how probable it is.
#
# But both directions are to be had only when all of the sequence is there. To say what comes next,
# or to label speech while somebody speaks, one has to read in one direction.


# %%
TEXT = "fadedjadebighighcafe"


def one_hot(text: str) -> Any:
    """Return a text as x (time, 1, 10)."""
    return np.eye(N_LETTERS, dtype="float32")[[[ord(letter) - ord("a")] for letter in text]]


def draw_once(nets: dict[str, Net], text: str) -> Any:
    """Return a figure: what each net says of each letter of a text."""
    x = one_hot(text)
    t = labels(x)[:, 0]
    steps = np.arange(len(text))
    chance = (1 - 1 / N_LETTERS) ** steps[::-1]
    seen = np.array([letter in text[:k] for k, letter in enumerate(text)])
    comes = np.array([letter in text[k + 1 :] for k, letter in enumerate(text)])
    best = {
        "from the left": np.where(seen, 0, chance),
        "from the right": np.where(comes, 0, chance[::-1]),
        "both": t,
    }
    figure, axes = plt.subplots(
        len(nets), 1, figsize=(9, 5.6), sharex=True, squeeze=False, layout="constrained"
    )
    axes = axes[:, 0]
    for ax, (name, net) in zip(axes, nets.items(), strict=True):
        p = net.predict(x, np.ones(x.shape[:2], "float32"))[:, 0]
        ax.bar(steps, p, 0.7, color=np.where(t == 1, ORANGE, "#a0aec0"))
        ax.plot(steps, best[name], "k_", markersize=16, markeredgewidth=1.5)
        ax.set(ylim=(0, 1.08), yticks=(0, 0.5, 1), ylabel="probability")
        ax.set_title(f"reads {name}".replace("reads both", "reads in both directions"), loc="left",
                     fontsize=10)  # fmt: skip
        ax.spines[["top", "right"]].set_visible(False)
    axes[-1].set_xticks(steps, list(text), fontsize=13)
    for label, is_once in zip(axes[-1].get_xticklabels(), t, strict=True):
        label.set_color(ORANGE if is_once else "k")
    figure.suptitle("Does this letter occur only once? Bars: the nets; lines: the best possible; "
                    "orange: it does", fontsize=11)  # fmt: skip
    return figure


# %% [markdown]
# ## 3. Different lengths
#
# Sequences of different lengths go through together if the shorter ones are filled up, here with
# the letter a, since padding often has the number 0, as the first letter has. In one direction that
# does no harm: the padding comes after the last letter. But the cell that reads from the right
# would read it first. With a mask `unroll` keeps that cell's state at zero until the sequence
# itself begins, for each sample where it ends.


# %%
def different_lengths(net: Net, n_steps: int) -> dict[str, Any]:
    """Print and return wrong labels with and without a mask."""
    rng = np.random.default_rng(2)
    lengths = rng.integers(n_steps // 2, n_steps + 1, size=1000)
    valid = (np.arange(n_steps)[:, None] < lengths).astype("float32")  # (time, samples)
    x, ones, _ = once(rng, 1000, n_steps)
    t = labels(x * valid[:, :, None])
    x[valid == 0] = np.eye(N_LETTERS)[0]
    found: dict[str, Any] = {}
    is_a = x[:, :, 0] == 1
    for name, mask in (("with mask", valid), ("without mask", ones)):
        p = net.predict(x, mask)
        missed = wrong(p, t)
        share = [float(missed[(valid == 1) & letter].mean()) for letter in (is_a, ~is_a)]
        found[name] = share
        print(f"  {name:<14} wrong labels of the letter a {share[0]:.4f}, of others {share[1]:.4f}")
    p = net.predict(x, valid)
    alone = [net.predict(x[:n, [k]], ones[:n, [k]])[:, 0] for k, n in enumerate(lengths[:20])]
    pairs = [(p[: len(a), k], a) for k, a in enumerate(alone)]
    found["difference"] = max(float(np.abs(a - b).max()) for a, b in pairs)
    print(f"  with mask, and each sequence alone: they differ by {found['difference']:.1e} at most")
    return found


# %% [markdown]
# *What to notice.* With the mask all is as if each sequence were alone. Without it one label in
# five of the letter a is wrong: for the net, which has seen the padding, the letter comes again.


# %%
def main(
    mode: str | None = None,
    seed: int = 1,
    n_steps: int = 100,
    n_updates: int = 1000,
    n_seeds: int = 3,
    figures: str = "figures",
    quick: bool = False,
) -> dict[str, Any]:
    """Run the lesson; return what its parts found."""
    for flag, value in (("--n-updates", n_updates), ("--n-seeds", n_seeds)):
        _lesson.positive_option(flag, value)
    if n_steps < 2:
        raise _lesson.OptionError(f"--n-steps is {n_steps}, but two steps have to be marked")
    if quick:
        n_steps, n_updates, n_seeds = 10, 10, 1
    folder = _lesson.figure_folder(figures, quick)
    cells = ("LSTM", "GRU") if quick else tuple(CELLS)
    ways = ("both",) if quick else tuple(WAYS)
    with pytensor.config.change_flags(floatX="float32"):
        seeds = range(seed, seed + n_seeds)
        return lesson(mode, cells, ways, seeds, n_steps, n_updates, folder)


def lesson(
    mode: Any,
    cells: Sequence[str],
    ways: Sequence[str],
    seeds: Sequence[int],
    n_steps: int,
    n_updates: int,
    folder: Path,
) -> dict[str, Any]:
    """Do what `main` says."""
    print(f"1. The GRU beside LSTM and Elman: {n_updates} steps of training each", flush=True)
    sum_nets = {name: sum_net(name, mode) for name in cells}
    compared = side_by_side(sum_nets, seeds, n_steps, n_updates)
    _lesson.save_figure(draw_side_by_side(compared), folder, "09_side_by_side")

    text = TEXT[:n_steps]
    print(f"\n2. A task that needs the future: which of {len(text)} letters occur only once?")
    nets = {name: Net(*WAYS[name], mode) for name in ways}
    nats, share = best = best_in_one_direction(len(text))
    found = needs_the_future(nets, seeds[0], len(text), 3 * n_updates // 2)
    print(f"  {'best in one direction':<27}{nats:>15.4f}{share:>14.4f}")
    _lesson.save_figure(draw_once(nets, text), folder, "09_once")

    print("\n3. Different lengths")
    lengths = different_lengths(nets["both"], len(text))
    _lesson.show_figures()
    return {"cells": compared, "ways": found, "best": best, "lengths": lengths}


if __name__ == "__main__":
    _lesson.run(
        main,
        help={
            "seed": "of the first run; the others have the next numbers",
            "n_steps": "length of the sequences of part 1",
            "n_updates": "steps of training in part 1; part 2 has half as many again",
            "n_seeds": "how often each net of part 1 is trained",
            "figures": "folder for the figures",
            "quick": "three nets, short sequences and no compilation: too little to learn anything",
        },
    )
