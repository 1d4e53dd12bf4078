"""Lesson 14: the LSTM language model - and what each improvement is worth on its own

What you learn
    What is in a language model with LSTM layers, and where its weights are. How near it comes to
    the best that anybody can do, beside the Elman net of lesson 13. Then four improvements, each
    alone against the same baseline: more layers, dropout, variational dropout, tied weights; and
    what dropout on the way from one step to the next does to the memory.

What you should see
    Seven numbered parts, tables of six nets on a grammar and of five on English, and two figures:
    14_memory.png and 14_improvements.png.

How long it takes (measured on two cores)
    Half a minute, with nothing compiled before. With --quick 6 seconds.

What you need to know
    Lesson 8 has the LSTM, lesson 11 overfitting and dropout, lesson 13 language models, perplexity
    and truncated backpropagation through time.

The file is a script and a notebook: editors that know `# %%` cells open it as one. There, run the
cells from the top; the last one runs the whole lesson.
"""

# %%
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy: small products, one thread

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import _lesson
import matplotlib.pyplot as plt
import numpy as np
import pytensor
import pytensor.tensor as pt

import symrnn as sr
from symrnn import explain, plots, text
from symrnn.models.language.model import mean_loss
from symrnn.nn.cells import LSTMState
from symrnn.nn.random import draw_mask
from symrnn.nn.wrappers import WrappedCell
from symrnn.tasks.english_grammar import english

Array = np.ndarray[Any, Any]
Rng = np.random.Generator

N_TOKENS, N_HIDDEN, STEPS, VALID_STREAMS = 500, 64, 20, 10
MakeModel = Callable[..., sr.LanguageModel]

# %% [markdown]
# ## 1. The model
#
# It is the net of lesson 13 with other cells. A word's token id picks a row of the embedding E, one
# or more LSTM layers read it, and an output layer says how probable each word is as the next:
#
#     e_t = E[x_t]     h_t, c_t = LSTM(e_t, h_{t-1}, c_{t-1})     p_t = softmax(h_t W + b)
#
# `LanguageModel` makes this graph. It hides nothing: `logits` returns a variable like any other,
# and `explain.describe` finds the scan in it.
#
# *What to notice.* Two thirds of the weights are in E and W, a row and a column for each word. The
# LSTM itself has a third. And a net that has learned nothing yet gives all 500 words about the same
# probability, so its loss is near log 500 = 6.21.


# %%
def look_inside(model: sr.LanguageModel) -> None:
    """Print the scan, and the shapes of all weights."""
    z, _ = model.logits(pt.lmatrix("x"))  # x: (time, batch), z: (time, batch, words)
    print(explain.describe(z))
    total = model.n_params
    for w in model.params:
        shape = w.get_value().shape
        print(f"  {w.name:14}{shape!s:>12}{np.prod(shape):8}{np.prod(shape) / total:7.0%}")
    print(f"  {'all':14}{'':12}{total:8}")


# %% [markdown]
# ## 2. Training, and a text whose best perplexity is known
#
# A step of training is truncated backpropagation through time: 20 steps of some batch streams side
# by side, and the states go on into the next batch. The optimizer is Adam, and gradients are
# clipped at a norm of 1. How many streams there are, the learning rate, and what it is multiplied
# with after each epoch is a `Recipe`. For the grammar it is that of lesson 13. For the small text
# of part 3 the learning rate stays, so that no schedule hides when a net begins to overfit.
#
# A net is compiled once and started from several seeds, as in lesson 11: weights, Adam's state
# and the masks' generators are put back.


# %%
class Recipe(NamedTuple):
    """How a net is trained."""

    n_embed: int
    batch_size: int
    learning_rate: float
    slower: float = 1.0


LESSON_13 = Recipe(n_embed=32, batch_size=35, learning_rate=0.005, slower=0.6)
SMALL = Recipe(n_embed=64, batch_size=10, learning_rate=0.015)


class Run(NamedTuple):
    """One training: perplexity after each epoch on both parts, and how long it took."""

    train: Array
    valid: Array
    seconds: float


class Data(NamedTuple):
    """A text as token ids: to learn from, and to validate with."""

    train: Array
    valid: Array

    @property
    def valid_batches(self) -> Any:
        """The text in ten long streams, as in lesson 13: states start from zero ten times only."""
        return text.streams(self.valid, batch_size=VALID_STREAMS, n_steps=STEPS)


class Net:
    """A language model with a compiled step of training, and a function that evaluates it."""

    def __init__(self, make: MakeModel, n_tokens: int, recipe: Recipe, mode: Any) -> None:
        self.recipe, self.make = recipe, partial(make, n_tokens, recipe.n_embed, N_HIDDEN)
        self.model = self.make(rng=np.random.default_rng(0))
        self.carried = self.model.carry(recipe.batch_size)
        self.carried_valid = self.model.carry(VALID_STREAMS)
        self.learning_rate = pytensor.shared(np.float32(recipe.learning_rate), name="learning_rate")

        def optimizer(loss: Any, params: list[Any]) -> dict[Any, Any]:
            gradients = sr.clip_by_global_norm(pytensor.grad(loss, params), 1.0)
            return sr.adam(gradients, params, self.learning_rate)

        self.step = self.model.compile_training(optimizer, self.carried, mode=mode)
        self.evaluate = self.model.compile_evaluation(self.carried_valid, mode=mode)
        self.first = {v: v.get_value() for v in self.step.get_shared()}

    def start(self, rng: Rng) -> None:
        """Put everything back, and draw new weights."""
        for variable, value in self.first.items():
            variable.set_value(value)
        for weight, new in zip(self.model.params, self.make(rng=rng).params, strict=True):
            weight.set_value(new.get_value())

    def learn(self, data: Data, rng: Rng, epochs: int, validate_each: bool = True) -> Run:
        """Train from a new start; validate after each epoch, or after the last alone."""
        self.start(rng)
        valid: list[float] = []
        batches = text.streams(data.train, batch_size=self.recipe.batch_size, n_steps=STEPS)

        def each_epoch(epoch: int, _: float) -> None:
            for carried in (*self.carried, *self.carried_valid):
                carried.reset()
            if validate_each or epoch == epochs:
                valid.append(mean_loss(self.evaluate, data.valid_batches))
            self.learning_rate.set_value(
                np.float32(self.learning_rate.get_value() * self.recipe.slower)
            )

        history = sr.train(self.step, batches, epochs=epochs, label="words", each_epoch=each_epoch)
        if history.interrupted:
            raise KeyboardInterrupt
        return Run(np.exp(history.epoch_loss), np.exp(valid), history.seconds)


# %%
def bigram_perplexity(data: Data, n_tokens: int, before: float = 50.0) -> float:
    """Return what counting pairs of words gives; `before` pairs are as in the text as a whole."""
    single = np.bincount(data.train, minlength=n_tokens) + 1
    pairs = np.zeros((n_tokens, n_tokens)) + before * single / single.sum()
    np.add.at(pairs, (data.train[:-1], data.train[1:]), 1)
    p = pairs / pairs.sum(axis=1, keepdims=True)
    return float(np.exp(-np.log(p[data.valid[:-1], data.valid[1:]]).mean()))


def on_the_grammar(
    kinds: dict[str, MakeModel], recipe: Recipe, n_words: int, n_valid: int, seed: int, mode: Any
) -> dict[str, tuple[float, float]]:
    """Print and return perplexities and seconds: the best possible, bigrams, trained nets."""
    grammar, rng = english(), np.random.default_rng(seed)
    data = Data(grammar.sample(n_words, rng=rng), grammar.sample(n_valid, rng=rng))
    best = float(np.exp(-grammar.log_probabilities(data.valid)[1:].mean()))
    found = {"best possible": (best, 0.0)}
    found["bigrams, counted"] = bigram_perplexity(data, len(grammar.words), before=1), 0.0
    for name, make in kinds.items():
        net = Net(make, len(grammar.words), recipe, mode)
        run = net.learn(data, rng, epochs=5, validate_each=False)
        found[name] = float(run.valid[-1]), run.seconds
    for name, (perplexity, seconds) in found.items():
        print(f"  {name:22}{perplexity:7.3f}  {perplexity / best - 1:6.1%} above the best", end="")
        print(f"{seconds:7.1f} s" if seconds else "", flush=True)
    return found


CELLS: dict[str, MakeModel] = {
    "Elman": partial(sr.LanguageModel, cell=sr.ElmanCell),
    "LSTM": partial(sr.LanguageModel, cell=sr.LSTMCell),
}


# %% [markdown]
# *What to notice.* These are the words of lesson 13, in the same ten streams, and its Elman net: it
# gets to 4.933, 1.7 % above the best possible for these words, 4.848. Counted pairs of words have
# 7.098. The LSTM, trained in the same way, gets to 4.909, 1.3 % above. So it comes a little nearer
# from the same words, and each of its steps takes about twice as long. Neither net is what keeps a
# language model from being perfect, if there are words enough: here 210,000 for a vocabulary of 52.
#
# ## 3. A small text
#
# From here on we take real English, the help on the language that every Python carries. Many of its
# paragraphs are there twice, in two topics. One of each is kept, or a net could find in validation
# what it has memorised. The paragraphs are shuffled, because they stand in alphabetical order
# of their topics, and cut into words, without punctuation and capital letters. We keep the 500 most
# frequent words; every other one is written <unk>, for unknown. In so short a text many words
# occur only once or twice: 16 % of the words to learn from are <unk>, and 24 % of the validation
# text, which has words of its own. <unk> counts as a word like any other, and is easier to guess
# than the words it stands for. So the perplexities below can be compared with each other, but not
# with those of another vocabulary. (The text differs a little between versions of Python,
# and so do the numbers, which are from 3.11.)
#
# The net has ten times as many weights as there are words to learn from, 10,000. So it can memorise
# them, as in lesson 11: after twelve epochs its perplexity is 17 on them, and on the validation
# text lowest after six, 57.9, and then 77.4. Whoever trains it keeps the weights of the best epoch
# (early stopping), so the best is what we compare. It is hardly better than counting pairs, 59.0.
# Each of the following parts changes one thing in this baseline. All nets get the same twelve
# epochs at the same learning rate of 0.015, though another one might suit some of them better. The
# table and 14_improvements.png come at the end, for all: lines are the mean of two starts, bands go
# from one to the other, and dots are the best epoch of each, the numbers in the table.


# %%
def python_words(seed: int, n_train: int, n_valid: int, n_tokens: int) -> tuple[Data, Any]:
    """Return two parts of Python's own help, and the vocabulary, made from the first part."""
    paragraphs = (" ".join(p.split()) for p in text.python_topics().split("\n\n"))
    once = list(dict.fromkeys(paragraphs))
    order = np.random.default_rng(seed).permutation(len(once))
    words = text.Words(lower=True, punctuation="drop", line_ends="eos")
    tokens = words.tokenize("\n".join(once[k] for k in order))[: n_train + n_valid]
    vocabulary = text.Vocabulary.build(
        tokens[:n_train], max_size=n_tokens, specials=(text.UNK, text.EOS)
    )
    ids = vocabulary.encode(tokens)
    return Data(ids[:n_train], ids[n_train:]), vocabulary


# %% [markdown]
# ## 4. Depth
#
# A second layer reads h of the first: h_t^2 = LSTM(h_t^1, h_{t-1}^2, c_{t-1}^2).
#
# *What to notice.* It does not help here: two layers have 66.2 where one has 57.9. They learn more
# slowly: after twelve epochs their training perplexity is still 59.5, that of the baseline 17. What
# they have to learn first can be seen before any training, in a net of three layers. We change the
# last word of 50 and ask how much of the last h hangs on it. In the first layer it is a third, in
# the second 5 %, in the third 1 %: the present word hardly gets through.


# %%
def share_of_the_last_word(model: sr.LanguageModel, x: Array, other: Array) -> list[float]:
    """Return how much another last word changes the last h of each layer, as a part of its size.

    x has the shape (time, batch), other (batch,).
    """
    both = np.concatenate([x, x], axis=1)
    both[-1, x.shape[1] :] = other
    layers = [model.embedding(pt.constant(both))]
    for cell in model.cells:
        layers.append(sr.unroll(cell, layers[-1])[0])
    last = sr.function([], [h[-1] for h in layers[1:]])()
    pairs = (np.split(h, 2) for h in last)
    return [float(np.sqrt(((a - b) ** 2).mean() / (a**2 + b**2).mean())) for a, b in pairs]


# %% [markdown]
# ## 5. Dropout, and why not along time
#
# Dropout D leaves out half of what goes into the LSTM, and half of what comes out of it, and
# doubles the rest (Zaremba et al., 2014):
#
#     e_t = D(E[x_t])     h_t, c_t = LSTM(e_t, h_{t-1}, c_{t-1})     p_t = softmax(D(h_t) W + b)
#
# The way from h_{t-1} and c_{t-1} to the next step is left alone. To see why, put D on c as well. A
# unit's value then goes through a mask at each step. After T steps it is still there with the
# probability (1 - p)^T: for p = 1/2 and ten steps, once in a thousand times. And then it has been
# doubled ten times. The mean is right but useless: almost always nothing arrives, and once in a
# thousand times a value a thousand times too large. The scan below keeps values by itself, as an
# LSTM with f = 1 and i = 0 would. 14_memory.png shows, on the left, which part of 20,000 units
# still holds a value, and on the right the mean square of all values, at first 1. Dots are what the
# scan found, lines (1 - p)^T and 1 / (1 - p)^T; for p = 1/2 no unit has a value after 13 steps.


# %%
DROPPED = 0.5


def keep_a_value(
    rates: Sequence[float], n_steps: int, n_units: int, seed: int
) -> tuple[dict[float, Array], Any]:
    """Return which part of units that hold 1 is still there, and the mean square of all."""
    alive = {}
    for rate in rates:
        kept = draw_mask(np.random.default_rng(seed), 1 - rate, (n_steps, n_units))
        masks = kept.astype("float32") / np.float32(1 - rate)
        c = pytensor.scan(
            lambda m, c: m * c,
            sequences=[masks],
            outputs_info=[pt.ones(n_units, dtype="float32")],
            return_updates=False,
        )
        result = [pt.neq(c, 0).mean(axis=1), (c**2).mean(axis=1)]
        alive[rate] = sr.function([], result)()
    return alive


class MaskedAlongTime(WrappedCell):
    """An LSTM with a new mask at every step on the way to the next one; for training.

    ``k_t, c_t = LSTM(x_t, h_{t-1}, c_{t-1})``, ``h_t = m_t * k_t``, ``m_t ~ Bernoulli(1 - rate) /
    (1 - rate)``; with `memory` also ``c_t = m_t * c_t``.

    The masks come in as a fifth gate, beside i, f, g and o: `project` draws them for all steps.
    """

    additive, elementwise = False, True  # see symrnn.nn.cells
    _borrows = True  # the weights keep their names

    def __init__(self, cell: sr.LSTMCell, rate: float, *, rng: Rng, memory: bool) -> None:
        super().__init__(cell)
        self.rate, self.rng, self.memory = rate, rng, memory
        self.n_gates, self.n_recurrent_gates = cell.n_gates + 1, cell.n_gates

    def project(self, x: Any) -> Any:
        """Return ``x W_x + b``, and beside it the masks."""
        zx = self.cell.project(x)
        m = draw_mask(self.rng, 1 - self.rate, (*zx.shape[:2], self.n_hidden)).astype(zx.dtype)
        return pt.concatenate([zx, m / np.asarray(1 - self.rate, zx.dtype)], axis=2)

    def step(self, zx: Any, zh: Any, h: Any, c: Any) -> LSTMState:
        """Return the LSTM's new state, less what the mask leaves out."""
        *zx, m = zx
        k, c = self.cell.step(tuple(a + b for a, b in zip(zx, zh, strict=True)), h, c)
        return LSTMState(m * k, m * c if self.memory else c)


class NewMasks(sr.LanguageModel):
    """A model of one layer that in training drops along time too, with new masks at each step."""

    def __init__(self, *sizes: Any, memory: bool = False, **options: Any) -> None:
        super().__init__(*sizes, **options)
        self.memory = memory

    def logits(self, x: Any, *, initial_state: Any = None, training: bool = False) -> Any:
        """Return z and the final state, as `LanguageModel.logits`."""
        if not training:
            return super().logits(x, initial_state=initial_state)
        (lstm,), (state,) = self.cells, initial_state
        rate, rng = self.dropout.rate, self.dropout.rng
        cell = MaskedAlongTime(lstm, rate, rng=rng, memory=self.memory)
        e = self.dropout(self.embedding(x), training=True)
        h, final = sr.unroll(cell, e, initial_state=state)
        return self.output(h), [final]


ALONG_TIME: dict[str, MakeModel] = {
    "not along time": partial(sr.LanguageModel, dropout=DROPPED),
    "new masks on h and c": partial(NewMasks, dropout=DROPPED, memory=True),
    "new masks on h": partial(NewMasks, dropout=DROPPED),
    "one mask on h": partial(sr.LanguageModel, dropout=DROPPED, variational=True),
}


# %% [markdown]
# *What to notice.* Four nets read 50,000 words of the grammar five times: there a verb depends on a
# subject many words before. Dropout is not meant to help there; what is seen is what it takes away.
# If it leaves time alone, the net gets within 7.4 % of the best possible. With masks on h and c it
# is 22.3 % above. With masks on h alone, and c whole, 12.5 %. So it is the memory above all that
# must be left alone. (The last line, "one mask on h", is explained in part 6.)
#
# On the small text dropout as above, not along time, is worth much: 53.0 in place of 57.9. The net
# overfits no more within twelve epochs, its best is the last one. It learns more slowly, for half
# of what it needs is missing: 56.7 at the end in place of 17. (That is with dropout at work.)
#
# ## 6. Variational dropout
#
# Gal and Ghahramani (2016) draw one mask for a whole sequence, here for the steps of a batch. The
# units that are left out are the same at all steps: half of the units are not there, and the
# others remember.
#
# `LanguageModel(variational=True)` does so with `VariationalDropout`, a wrapper that makes of any
# cell one that brings its mask along as part of the state:
#
#     e_t = m_e * E[x_t]     k_t, c_t = LSTM(e_t, h_{t-1}, c_{t-1})     h_t = m * k_t
#
# It acts on h, on the way to the next step and to the output; c stays whole. For one layer the
# graph can be written in four lines, with `drop = Dropout(rate, rng=rng, shared_over_time=True)`:
#
#     cell = VariationalDropout(lstm, rate, rng=rng)
#     e, start = drop(embedding(x), training=True), cell.start(carried.state)
#     h, final = unroll(cell, e, initial_state=start)
#     z, updates = output(h), carried.updates(cell.inner(final))
#
# *What to notice.* Beside "new masks on h" in the table of part 5, "one mask on h" differs in this
# alone, one mask for all steps. It is 14.3 % above the best possible, the other one 12.5 %. So here
# one mask is no better than new ones: both leave c whole, and c is what remembers in an LSTM.
#
# On the small text variational dropout is the best of all, 51.7 in place of 53.0. But from one
# start it has 52.9 and from the other 50.5, and dropout that leaves time alone 53.6 and 52.5: two
# starts do not decide between them.
#
# ## 7. Tied weights
#
# E says what a word means when it comes in, W which h makes it likely to come next. Words that mean
# similar things should be similar in both. So why not take one matrix for both (Inan et al., 2017;
# Press and Wolf, 2017):
#
#     p_t = softmax(h_t E^T + b)
#
# The graph then uses E twice, and its gradient is the sum of both.
#
# *What to notice.* A third of the weights less, 65,524 in place of 97,524, and nearly the same
# perplexity: 58.3 and 57.9, where the two starts of the baseline have 58.4 and 57.5. It overfits
# more slowly, 68.7 at the end in place of 77.4. So what is gained here is size. With a vocabulary
# of 10,000 words nearly all weights are in E and W, and tying takes away half of them.
#
# ## Try it
#
# - ``--learning-rate 0.005 --epochs 24``: which nets gain by a lower learning rate and more time?
# - ``--n-train 30000``: with more words, what is dropout still worth? And two layers?
# - ``--n-seeds 4``: is variational dropout better than dropout?
#
# ``python -m symrnn lm train book.txt --level word`` trains such a model on a text of your own;
# ``--layers``, ``--dropout``, ``--variational`` and ``--tied`` are the parts above.


# %%
KINDS: dict[str, MakeModel] = {
    "baseline": sr.LanguageModel,
    "2 layers": partial(sr.LanguageModel, n_layers=2),
    "dropout": partial(sr.LanguageModel, dropout=DROPPED),
    "variational dropout": partial(sr.LanguageModel, dropout=DROPPED, variational=True),
    "tied weights": partial(sr.LanguageModel, tied=True),
}


def improvements(
    nets: dict[str, Net],
    data: Data,
    seeds: Sequence[int],
    epochs: int,
    kinds: Sequence[str],
    recipe: Recipe,
    mode: Any,
) -> dict[str, list[Run]]:
    """Train every kind from every seed; print a table. Nets that are not there yet are made."""
    each = 7 * len(seeds)
    print(f"  {'':22}{'':7}  validation perplexity")
    print(f"  {'':22}weights  {'best, each seed':{each + 9}}epoch   last  training  seconds")
    found = {}
    for name in kinds:
        if name not in nets:
            nets[name] = Net(KINDS[name], N_TOKENS, recipe, mode)
        rngs = map(np.random.default_rng, seeds)
        runs = found[name] = [nets[name].learn(data, rng, epochs) for rng in rngs]
        best = [r.valid.min() for r in runs]
        at = "/".join(str(r.valid.argmin() + 1) for r in runs)
        last, training, seconds = (
            np.mean(v)
            for v in zip(*((r.valid[-1], r.train[-1], r.seconds) for r in runs), strict=True)
        )
        print(
            f"  {name:22}{nets[name].model.n_params:7}  {np.mean(best):6.1f} ="
            + "".join(f"{b:7.1f}" for b in best)
            + f"  {at:>8}{last:7.1f}{training:10.1f}{seconds:9.1f}",
            flush=True,
        )
    return found


def draw_memory(alive: dict[float, Array], folder: Path) -> None:
    """Draw which part of the units is still there after each step, and their mean square."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for (rate, (part, square)), colour in zip(alive.items(), ("C0", "C1", "C3"), strict=True):
        steps = np.arange(1, len(part) + 1)
        expected = (1 - rate) ** steps
        for ax, seen, curve in zip(axes, (part, square), (expected, 1 / expected), strict=True):
            ax.plot(steps, curve, color=colour, alpha=0.5)
            ax.plot(steps[seen > 0], seen[seen > 0], "o", color=colour, label=f"p = {rate}")
    axes[0].set_ylim(1e-5, 1.5)
    axes[0].set(title="units that still hold a value", ylabel="part of all")
    axes[1].set(title="mean square of all values, at first 1", ylabel="mean square")
    for ax in axes:
        ax.set(xlabel="steps", yscale="log", xticks=(1, 5, 10, 15, 20))
        ax.grid(alpha=0.3)
        ax.legend()
    _lesson.save_figure(figure, folder, "14_memory")


def draw_improvements(found: dict[str, list[Run]], folder: Path) -> None:
    """Draw validation perplexities by epoch: a panel an improvement, each beside the baseline."""
    names = [name for name in found if name != "baseline"]
    width = max(3.4 * len(names), 5)
    figure, axes = plt.subplots(
        1, len(names), figsize=(width, 4), sharey=True, squeeze=False, layout="constrained"
    )
    for ax, name in zip(axes.flat, names, strict=True):
        curves = {k: np.array([r.valid for r in found[k]]) for k in ("baseline", name)}
        plots.loss_bands(curves, ax=ax, log=False)
        for line, runs in zip(list(ax.lines), curves.values(), strict=True):
            best = runs.argmin(axis=1) + 1, runs.min(axis=1)
            ax.plot(*best, "o", color=line.get_color(), markersize=5)
        ax.set(title=name, xlabel="epoch", ylabel="")
    axes[0, 0].set_ylabel("validation perplexity")
    _lesson.save_figure(figure, folder, "14_improvements")


# %%
def main(
    mode: str | None = None,
    seed: int = 1,
    n_seeds: int = 2,
    epochs: int = 12,
    n_train: int = 10_000,
    learning_rate: float = SMALL.learning_rate,
    figures: str = "figures",
    quick: bool = False,
) -> dict[str, Any]:
    """Run the lesson; return what its parts found."""
    numbers = {
        "--n-seeds": n_seeds,
        "--epochs": epochs,
        "--n-train": n_train,
        "--learning-rate": learning_rate,
    }
    for flag, value in numbers.items():
        _lesson.positive_option(flag, value)
    recipe = SMALL._replace(learning_rate=learning_rate)
    with pytensor.config.change_flags(floatX="float32"):
        if quick:
            kinds = ("baseline", "variational dropout")
            return lesson(mode, [seed], 2, 1000, recipe, kinds, figures, quick)
        seeds = range(seed, seed + n_seeds)
        return lesson(mode, seeds, epochs, n_train, recipe, (*KINDS,), figures, quick)


def lesson(
    mode: Any,
    seeds: Sequence[int],
    epochs: int,
    n_train: int,
    recipe: Recipe,
    kinds: Sequence[str],
    figures: str,
    quick: bool,
) -> dict[str, Any]:
    """Do what `main` says."""
    folder = _lesson.figure_folder(figures, quick)
    print("1. The model")
    nets = {"baseline": Net(KINDS["baseline"], N_TOKENS, recipe, mode)}
    look_inside(nets["baseline"].model)

    print("\n2. A text whose best perplexity is known", flush=True)
    n_words, n_valid, cells = (1_401, 1_001, {}) if quick else (210_001, 40_001, CELLS)
    grammar = on_the_grammar(cells, LESSON_13, n_words, n_valid, seeds[0], mode)

    print("\n3. A small text")
    data, vocabulary = python_words(seeds[0], n_train, 3001, N_TOKENS)
    unknown = [100 * (part == vocabulary.unk).mean() for part in data]
    print(f"  {len(data.train)} words to learn from, {len(data.valid)} to validate with")
    print(f"  {len(vocabulary)} in the vocabulary; {unknown[0]:.0f} % and {unknown[1]:.0f} % <unk>")
    print("  " + " ".join(vocabulary.decode(data.train[:40])))
    untrained = float(np.exp(mean_loss(nets["baseline"].evaluate, data.valid_batches)))
    bigrams = bigram_perplexity(data, N_TOKENS)
    print(f"  perplexity of the net before training {untrained:.0f}, of bigrams {bigrams:.1f}")

    print("\n4. Depth")
    deep = sr.LanguageModel(
        N_TOKENS, N_HIDDEN, N_HIDDEN, rng=np.random.default_rng(seeds[0]), n_layers=3
    )
    x, t = text.streams(data.valid, batch_size=60, n_steps=50)[0]
    share = share_of_the_last_word(deep, x, t[-1])
    print("  part of h that hangs on the last word, before training, layer by layer: ", end="")
    print(", ".join(f"{100 * s:.0f} %" for s in share))

    print("\n5. What a mask at each step leaves of a value")
    alive = keep_a_value((0.1, 0.25, 0.5), 20, 20_000, seeds[0])
    print("  after steps      1       5      10      20")
    for dropped, (part, _) in alive.items():
        print(f"  p = {dropped:<9}" + "".join(f"{part[t - 1]:8.4f}" for t in (1, 5, 10, 20)))
        print("  (1 - p)^T    " + "".join(f"{(1 - dropped) ** t:8.4f}" for t in (1, 5, 10, 20)))
    draw_memory(alive, folder)
    print(f"  dropout of {DROPPED} along time, on the grammar", flush=True)
    n_words, masked = (1_401, {}) if quick else (50_001, ALONG_TIME)
    faster = Recipe(n_embed=64, batch_size=35, learning_rate=0.01, slower=0.6)
    along_time = on_the_grammar(masked, faster, n_words, 1_001 if quick else 10_001, seeds[0], mode)

    print(f"\n4.-7. Each improvement by itself: {epochs} epochs, seeds {[*seeds]}", flush=True)
    found = improvements(nets, data, seeds, epochs, kinds, recipe, mode)
    draw_improvements(found, folder)
    _lesson.show_figures()
    return {
        "nets": nets,
        "grammar": grammar,
        "data": data,
        "bigrams": bigrams,
        "share": share,
        "alive": alive,
        "along_time": along_time,
        "found": found,
    }


if __name__ == "__main__":
    _lesson.run(
        main,
        help={
            "seed": "of the first training, and of the data",
            "n_seeds": "how often each net is trained",
            "epochs": "of each training",
            "n_train": "words to learn from, in parts 3 to 7",
            "learning_rate": "of Adam, in parts 3 to 7",
            "figures": "folder for the figures",
            "quick": "two nets, 1000 words and no compilation: too little to learn anything",
        },
    )
