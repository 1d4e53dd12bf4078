"""Lesson 18: a deep translator - residual connections, encoder and decoder of four layers

What you learn
    What residual connections are, and what they are not: a sum that goes up, not on in time. What
    becomes of the gradient in a deep stack with and without them. To train an encoder-decoder of
    four layers each with attention, the plan of GNMT (Wu et al., 2016) at the size of a desk.

What you should see
    Three numbered parts and two figures: 18_gradients.png and 18_training.png. In a plain stack of
    eight layers the lowest one gets less than a hundredth of the gradient at the top; with
    residual connections it gets more than the top. Of strings that they have never seen, after as
    many steps, a plain net of four layers writes 68 % backwards without a mistake, one with
    residual connections 92 %. But so does one of a single layer, 91 %: this task needs no depth.

How long it takes (measured on two cores)
    About a minute and a half; nothing is compiled, so the first time is no longer. With --quick
    some 8 seconds.

What you need to know
    Lesson 8 has the LSTM, lesson 16 encoder and decoder, lesson 17 attention.

The file is a script and a notebook: editors that know `# %%` cells open it as one. There, run the
cells from the top; the last one runs the whole lesson.
"""

# %%
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy: small products, one thread

from collections.abc import Sequence
from typing import Any, NamedTuple

import _lesson
import matplotlib.pyplot as plt
import numpy as np
import pytensor
import pytensor.tensor as pt

import symrnn as sr
from symrnn.tasks.strings import reversal
from symrnn.text import Pair, PairVocabularies, pair_batches

BLUE, ORANGE, GREY = "#2b6cb0", "#c2570c", "#555555"
Array = np.ndarray[Any, Any]

# %% [markdown]
# ## 1. A sum that goes up
#
# In a deep recurrent net the outputs of a layer are the input of the next one. Each layer is a loop
# over time with weights of its own. Let o^0 be the input x, and o^k the outputs of layer k:
#
#     h^k_t = cell_k(o^{k-1}_t, h^k_{t-1})
#     o^k_t = h^k_t                        plain
#     o^k_t = h^k_t + o^{k-1}_t            with residual connections
#
# So with a residual connection (He et al., 2016; in deep translators: Wu et al., 2016) a layer does
# not have to say again what it was told. It is there anyway, and the layer adds what it has found
# out. The sum needs no weights, but both must be equally wide.
#
# Two things go different ways, and are easily mixed up: *up*, to the next layer, goes the sum
# o^k_t. *On in time*, to the layer's own next step, goes h^k_t alone.
#
# The cell below has both twice: in NumPy, with two loops, and as a graph, where `unroll` is the
# inner loop. `stack` of the library has an option for it. All three agree.


# %%
def in_numpy(cells: Sequence[Any], x: Array, residual: bool) -> Array:
    """Return the top layer's outputs of a stack of Elman cells; x is (time, batch, features)."""
    for cell in cells:
        W_x, W_h, b = (w.get_value() for w in cell.params)
        h, outputs = np.zeros((x.shape[1], len(W_h))), []
        for x_t in x:
            h = np.tanh(x_t @ W_x + h @ W_h + b)  # on in time
            outputs.append(h + x_t if residual else h)  # up
        x = np.array(outputs)
    return x


def outputs_of_layers(cells: Sequence[Any], x: Any, residual: bool) -> list[Any]:
    """Return o^0 = x, o^1, ... as variables, each (time, batch, features)."""
    outputs = [x]
    for cell in cells:
        h, _ = sr.unroll(cell, outputs[-1])
        outputs.append(h + outputs[-1] if residual else h)
    return outputs


@pytensor.config.change_flags(floatX="float64")
def three_ways(seed: int, n_layers: int = 3) -> dict[bool, list[Array]]:
    """Return the outputs of a small stack in NumPy, as a graph, and by the library."""
    rng = np.random.default_rng(seed)
    cells = [sr.ElmanCell(4, 4, rng=rng) for _ in range(n_layers)]
    x = rng.normal(size=(5, 2, 4))
    found = {}
    for residual in (False, True):
        graph = outputs_of_layers(cells, pt.as_tensor_variable(x), residual)[-1]
        library, _ = sr.stack(cells, x, residual=residual)
        values = sr.function([], [graph, library])()
        found[residual] = [in_numpy(cells, x, residual), *values]
        largest = max(abs(found[residual][0] - value).max() for value in values)
        name = "with residual connections" if residual else "plain"
        print(f"  {name:<26} graph and library differ from NumPy by {largest:.0e}")
        assert largest < 1e-12, largest
    return found


# %% [markdown]
# ## 2. What comes down
#
# Why should that help? Let g^k be the gradient of the loss with respect to o^k, and J_k the
# derivatives of h^k with respect to its input o^{k-1}, of all steps. The gradient goes from the top
# down, and
#
#     g^{k-1} = J_k^T g^k                  plain
#     g^{k-1} = J_k^T g^k + g^k            with residual connections
#
# It is the story of lesson 7 once more, over layers in place of steps. Plain, the gradient of the
# lowest layer is a product of as many matrices as there are layers above. If each one halves it,
# eight layers leave 1/256. With the sum, g^k itself comes down too, whatever J_k is.
#
# The cell below measures it before training. Stacks of 2 and of 8 layers of LSTMs read random
# numbers, and shall say at each step one of ten random tokens. What counts is the norm of g^k at
# each layer, and beside it what goes up: how much the outputs of a layer differ between samples
# (the standard deviation over samples, a mean over steps and units). It is all that the layers
# above get to know of the input.

DEPTHS = (2, 8)


# %%
class Flow(NamedTuple):
    """What a stack does before training; both of shape (layers + 1,), from the input up."""

    gradient: Array  # the norm of g^0, g^1, ...
    spread: Array  # the standard deviation over samples of o^0, o^1, ...


@pytensor.config.change_flags(floatX="float64")
def flow(n_layers: int, residual: bool, seed: int, n: int = 32) -> Flow:
    """Measure one stack of LSTMs: a random batch of 32 sequences of 8 steps."""
    rng = np.random.default_rng(seed)
    cells = [sr.LSTMCell(n, n, rng=rng) for _ in range(n_layers)]
    x = pt.as_tensor_variable(rng.normal(size=(8, 32, n)))
    outputs = outputs_of_layers(cells, x, residual)
    logits = sr.Dense(n, 10, rng=rng)(outputs[-1])
    loss = sr.categorical_cross_entropy(logits, rng.integers(10, size=(8, 32)))
    norms = [pt.sqrt((g**2).sum()) for g in pytensor.grad(loss, outputs)]
    spreads = [o.std(axis=1).mean() for o in outputs]
    values = np.array(sr.function([], norms + spreads)())
    return Flow(*np.split(values, 2))


def flows(seed: int, depths: Sequence[int]) -> dict[tuple[int, bool], Flow]:
    """Measure stacks of some depths, plain and residual; print the deepest ones."""
    found = {(n, r): flow(n, r, seed) for r in (False, True) for n in depths}
    plain, residual = found[depths[-1], False], found[depths[-1], True]
    print(f"  {depths[-1]} layers  {'gradient':^22}{'spread over samples':^24}")
    print(f"  {'outputs of':<10}{'plain':>10}{'residual':>12}{'plain':>12}{'residual':>12}")
    for k in reversed(range(depths[-1] + 1)):
        name = f"layer {k}" if k else "the input"
        print(
            f"  {name:<10}{plain.gradient[k]:10.1e}{residual.gradient[k]:12.1e}"
            f"{plain.spread[k]:12.4f}{residual.spread[k]:12.4f}"
        )
    return found


def draw_flows(found: dict[tuple[int, bool], Flow]) -> Any:
    """The norm of the gradient at each layer, of all stacks."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    for ax, residual in zip(axes, (False, True), strict=True):
        depths = [n for n, r in found if r == residual]
        for n, shade in zip(depths, np.linspace(0.35, 1, len(depths)), strict=True):
            ax.semilogy(
                found[n, residual].gradient, marker="o", markersize=4, alpha=shade,
                color=ORANGE if residual else BLUE, label=f"{n} layers" if n > 1 else "1 layer",
            )  # fmt: skip
        ax.set(xlabel="outputs of layer k (0: the input)", xticks=range(max(depths) + 1))
        ax.set_title("with residual connections" if residual else "plain", fontsize=11)
        ax.grid(alpha=0.3)
        ax.legend(frameon=False)
    axes[0].set(ylabel="norm of the loss's gradient")
    return figure


# %% [markdown]
# *What to notice.* In the plain stack of eight layers the gradient falls from 0.073 at the top to
# 0.00054 at the outputs of the lowest layer; each layer leaves between 0.37 and 0.61 of it. With
# residual connections it does not fall, and even grows a little, from 0.080 to 0.11.
# 18_gradients.png has both, and the stacks of two layers, where less is lost.
#
# What goes up has the same fate. A gate of an LSTM is about one half at first, so its outputs are
# smaller than its input. The outputs of layer 8 differ between samples by 0.0015, where the input
# differs by 0.98: the top layer hardly knows what was read. With the sums it is 1.15.
#
# ## 3. Three translators on equal terms
#
# Strings of 1 to 8 of ten letters are to be written backwards, as in lesson 16: "cab" -> "bac".
# There are 5,000 to learn from, six times, and 250 others are asked. An answer counts if it is
# right as a whole (exact-match accuracy).
#
# GNMT has eight layers on each side, LSTMs, residual connections and attention. Here there are four
# on each side, with 32 units; so eight loops, and as many for the backward pass. Other things are
# left out: GNMT's lowest layer reads in both directions, its attention sits in the loop, and it has
# no residual connection below the third layer.
#
# `Seq2Seq` has all options. The vectors of the characters are as wide as the layers, so that the
# lowest layer has a residual connection too. Attention ("dot", after the decoder) looks with the
# top sum of the decoder at the top sums of the encoder. The three nets have the same data, in the
# same order, the same optimizer, learning rate and number of steps.


# %%
class Plan(NamedTuple):
    """The task, the size of the nets, and how they are trained."""

    n_train: int
    n_test: int
    lengths: tuple[int, int]
    n_layers: int  # of the deep nets
    n_hidden: int
    batch_size: int
    learning_rate: float
    epochs: int


DEFAULT = Plan(5_000, 250, (1, 8), 4, 32, 100, 0.005, 6)
SMALL = Plan(100, 20, (1, 4), 2, 8, 50, 0.005, 1)
NETS = ("one layer", "deep, plain", "deep, residual")
COLOURS = dict(zip(NETS, (GREY, BLUE, ORANGE), strict=True))


class Run(NamedTuple):
    """One training."""

    accuracy: list[float]  # exact-match, after each epoch
    loss: list[float]  # in each epoch
    seconds: float  # with the tests
    n_weights: int


def train_net(
    name: str, data: tuple[list[Pair], list[Pair]], plan: Plan, seed: int, mode: Any
) -> Run:
    """Train a net from the start that belongs to a seed."""
    pairs, test = data
    rng = np.random.default_rng(seed)
    both = PairVocabularies.build(pairs + test)
    sizes = len(both.source), len(both.target), plan.n_hidden, plan.n_hidden
    n_layers, residual = 1 if name == "one layer" else plan.n_layers, name == "deep, residual"
    model = sr.Seq2Seq(*sizes, rng=rng, n_layers=n_layers, residual=residual, attention="dot")
    order = np.random.default_rng(seed)  # the same for all nets
    encoded = both.encode(pairs)
    batches = pair_batches(
        *encoded, batch_size=plan.batch_size, eos=both.target.eos, rng=order, by_length=True
    )

    def optimizer(loss: Any, params: list[Any]) -> dict[Any, Any]:
        gradients = sr.clip_by_global_norm(pytensor.grad(loss, params), 5.0)
        return sr.adam(gradients, params, plan.learning_rate)

    step = model.compile_training(optimizer, mode=mode)
    translator = sr.Translator(model, both, longest=plan.lengths[1] + 3)
    accuracy: list[float] = []
    history = sr.train(
        step, batches, epochs=plan.epochs, label=name,
        each_epoch=lambda *_: accuracy.append(translator.accuracy(test)),
    )  # fmt: skip
    if history.interrupted:
        raise KeyboardInterrupt
    return Run(accuracy, history.epoch_loss, history.seconds, model.n_params)


def report(name: str, runs: list[Run]) -> None:
    """Print what came of a net, from each seed."""
    for run in runs:
        print(
            f"  {name:<16}{run.n_weights:10,}{run.seconds:10.0f}{run.loss[-1]:10.3f}"
            f"{100 * run.accuracy[-1]:13.1f}", flush=True,
        )  # fmt: skip


def draw_training(runs: dict[str, list[Run]]) -> Any:
    """The exact-match accuracy by epoch."""
    figure, ax = plt.subplots(figsize=(8, 4.2), layout="constrained")
    for name, of_seeds in runs.items():
        for k, run in enumerate(of_seeds):
            ax.plot(
                np.arange(1, len(run.accuracy) + 1), 100 * np.array(run.accuracy), marker="o",
                markersize=4, color=COLOURS[name], label=None if k else name,
            )  # fmt: skip
    ax.set(xlabel="epoch", ylabel="exact-match accuracy on new strings, %", ylim=(-3, 103))
    ax.legend(frameon=False)
    ax.grid(alpha=0.3)
    return figure


# %% [markdown]
# *What to notice.* After six epochs the plain deep net gets 67.6 % of the new strings right. With
# residual connections it is 91.6 %, with as many weights and in the same time. 18_training.png
# shows when: for three epochs the plain net has next to nothing right, and after six it has fewer
# right than the other one after three. This fits part 2, where of the gradient little comes down,
# and of the string little comes up; but it is no proof that this is why.
#
# Three things should be said beside that.
#
# - A single layer gets 90.8 %, with about a quarter of the weights and in less time. Here depth is
#   no help; residual connections only take away its harm. Nets get deep where there is more to
#   learn.
# - With four layers the plain net is late, not lost, and the learning rate matters for it. In
#   trials beside the lesson (other initial weights, 250 strings, six epochs) it got 22.8 % with a
#   learning rate of 0.002, 64.4 % with 0.005 and 89.2 % with 0.01. The other two nets were tried
#   with 0.005 alone.
# - The deeper, the worse. With eight layers on each side, as many as GNMT has, and a learning rate
#   of 0.005, the plain net had not one of the 250 strings right after four epochs; with residual
#   connections it was 89.6 % (one trial each).
#
# ## Try it
#
# - `--n-seeds 3`: does the order stay?
# - In `DEFAULT`, 8 layers in place of 4, which takes three minutes; or 20 epochs: does the plain
#   net arrive?
# - In `flow`, `ElmanCell` in place of `LSTMCell`: is there a gradient to be saved?
# - In `main`, `sorting` in place of `reversal` (and in the import above).


# %%
@pytensor.config.change_flags(floatX="float32")
def main(
    mode: str | None = None,
    seed: int = 1,
    n_seeds: int = 1,
    figures: str = "figures",
    quick: bool = False,
) -> dict[str, Any]:
    """Run the lesson; return what its parts found."""
    _lesson.positive_option("--n-seeds", n_seeds)
    folder = _lesson.figure_folder(figures, quick)
    plan = SMALL if quick else DEFAULT

    print("1. A sum that goes up")
    outputs = three_ways(seed)

    print("\n2. What comes down")
    found = flows(seed, DEPTHS[:1] if quick else DEPTHS)
    _lesson.save_figure(draw_flows(found), folder, "18_gradients")

    print(f"\n3. Three translators on equal terms\n  {plan}", flush=True)
    data = reversal(
        plan.n_train, plan.n_test, rng=np.random.default_rng(seed), lengths=plan.lengths
    )
    print(f"  {'net':<16}{'weights':>10}{'seconds':>10}{'loss':>10}{'accuracy, %':>13}", flush=True)
    runs = {}
    for name in NETS[-1:] if quick else NETS:
        seeds = range(seed, seed + n_seeds)
        runs[name] = [train_net(name, data, plan, k, mode) for k in seeds]
        report(name, runs[name])
    _lesson.save_figure(draw_training(runs), folder, "18_training")
    _lesson.show_figures()
    return {"outputs": outputs, "flows": found, "data": data, "runs": runs}


if __name__ == "__main__":
    _lesson.run(
        main,
        help={
            "seed": "of the initial weights, of the data and their order",
            "n_seeds": "how often each net of part 3 is trained",
            "figures": "folder for the figures",
            "quick": "few strings, small nets: too little to learn anything",
        },
    )
