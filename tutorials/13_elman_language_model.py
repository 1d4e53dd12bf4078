"""Lesson 13: an Elman net as a language model - perplexity, its lower bound, and truncated BPTT

What you learn
    To predict the next word: from a text to numbers, batches and a loss. What perplexity is, and
    what it can be at best. How far an Elman net stays above that, and at which words. What
    truncated backpropagation through time cuts off, what it keeps, and what that costs.

What you should see
    Seven numbered parts and four figures: 13_tiny.png, 13_grammar.png, 13_streams.png and
    13_truncation.png. The net of part 3 gets to 4.93, 1.7 % above the best possible perplexity.

How long it takes (measured on two cores)
    About 40 seconds; the first time a minute more, since a graph is compiled to machine code. With
    --quick 6 seconds.

What you need to know
    NumPy, and lessons 0 to 7.

The file is a script and a notebook: editors that know `# %%` cells open it as one. There, run the
cells from the top; the last one runs the whole lesson.
"""

# %%
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy: small products, one thread

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pytensor
import pytensor.tensor as pt

from symrnn import explain, lessons, text
from symrnn.cells import ElmanCell
from symrnn.compiling import QUICK
from symrnn.layers import Dense, Embedding
from symrnn.losses import categorical_cross_entropy
from symrnn.models.language_model import LanguageModel
from symrnn.states import CarriedState
from symrnn.tasks.grammar import BE, TRANSITIVE, VERBS, Grammar, english
from symrnn.training import train
from symrnn.unroll import unroll
from symrnn.updates import adam, clip_by_global_norm

BLUE, ORANGE, GREEN, GREY = "#2b6cb0", "#b7500f", "#2f7a4f", "#718096"
Rng = np.random.Generator

# %% [markdown]
# ## 1. A sentence
#
# A language model says how probable each word is as the next one, given those before it. Its data
# is a text and nothing else: the target t is the text itself, one word later.
#
#     x    you  say      goodbye  and  i    say    hello
#     t    say  goodbye  and      i    say  hello  .
#
# Words become numbers by a vocabulary, and numbers become vectors by an embedding: a table with a
# row for each word, which is learnt. So the graph is
#
#     e_t = E[x_t]                                    embedding
#     h_t = tanh(e_t W_x + h_{t-1} W_h + b)           Elman cell
#     z_t = h_t W + b'                                a number for each word
#     p(next word = i) = exp(z_ti) / sum_k exp(z_tk)  softmax
#     L   = mean over t of -log p(t_t)                cross-entropy
#
# The word "say" is there twice, and is followed once by "goodbye" and once by "hello". Who sees
# only the last word cannot know which. A bigram count (how often does each word follow each other
# one?) gives both 1/2, and no model of one word can do better: 2 log 2 / 7 = 0.198 nats a word.
# The state h_{t-1} holds what was before, and tells them apart. To see that it is the state, the
# same net is also trained on seven texts of one word each: there the state is always zero.

SENTENCE = "You say goodbye and I say hello."


# %%
class Tiny:
    """The graph above: 8 numbers for each word, and 8 hidden units."""

    def __init__(self, n_tokens: int, rng: Rng) -> None:
        self.embedding = Embedding(n_tokens, 8, rng, name="embedding")
        self.cell = ElmanCell(8, 8, rng)
        self.output = Dense(8, n_tokens, rng, name="output")
        self.params = [*self.embedding.params, *self.cell.params, *self.output.params]

    def __call__(self, x: Any, initial_state: Any = None) -> tuple[Any, Any, Any]:
        """Return z (time, batch, n_tokens), h (time, batch, 8), and the last state."""
        h, final = unroll(self.cell, self.embedding(x), initial_state)
        return self.output(h), h, final


def softmax(z: Any) -> Any:
    """Return ``exp(z) / sum exp(z)`` over the last axis, in float64."""
    e = np.exp(z.astype("float64") - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def bigram(x: Any, t: Any, n_tokens: int, extra: float = 0.0) -> Any:
    """Return p(next word | word), (word, next word), from counts with `extra` added to each."""
    counts = np.full((n_tokens, n_tokens), extra)
    np.add.at(counts, (x, t), 1)
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-300)


def sentence(seed: int, n_updates: int) -> dict[str, Any]:
    """Train the net both ways; return what each model says of the next word, (time, tokens)."""
    words = text.Words(lower=True)
    tokens = words.tokenize(SENTENCE)
    vocabulary = text.Vocabulary.build(tokens, specials=())
    ids = vocabulary.encode(tokens)
    x, t = ids[:-1, None], ids[1:, None]  # one text: a batch of 1
    print(f"  tokens      {'  '.join(tokens)}\n  vocabulary  {'  '.join(vocabulary)}")
    print(f"  x           {ids[:-1].tolist()}\n  t           {ids[1:].tolist()}")

    n = len(vocabulary)
    says = {"any word": np.full((len(t), n), 1 / n)}
    says["word counts"] = np.tile(np.bincount(ids[1:], minlength=n) / len(t), (len(t), 1))
    says["bigram counts"] = bigram(ids[:-1], ids[1:], n)[ids[:-1]]
    net = Tiny(n, np.random.default_rng(seed))
    words_in, words_out = pt.lmatrix("x"), pt.lmatrix("t")  # (time, batch), whole numbers
    z, _, _ = net(words_in)
    loss = categorical_cross_entropy(z, words_out)
    updates = adam(loss, net.params, 0.05)
    step = pytensor.function([words_in, words_out], [loss, z], updates=updates, mode=QUICK)
    start = {v: v.get_value() for v in updates}  # weights, and Adam's averages
    losses = {}
    for name, batch in (("one word at a time", (x.T, t.T)), ("Elman", (x, t))):
        for v, value in start.items():
            v.set_value(value)
        says["untrained"] = softmax(step(x, t)[1])[:, 0]
        train(step, [batch], epochs=n_updates, label=name)
        losses[name], z_value = step(*batch)
        says[name] = softmax(z_value).reshape(-1, n)
    return {"vocabulary": vocabulary, "ids": ids, "says": says, "losses": losses}


def draw_sentence(found: dict[str, Any]) -> Any:
    """What two models say after each word."""
    vocabulary, ids = found["vocabulary"], found["ids"]
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.4), sharey=True, layout="constrained")
    for ax, name in zip(axes, ("one word at a time", "Elman"), strict=True):
        p = found["says"][name]
        image = ax.imshow(p, cmap="Blues", vmin=0, vmax=1)
        for (row, column), value in np.ndenumerate(p):
            if value > 0.005:
                colour = "white" if value > 0.6 else "black"
                ax.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour)
        for row, column in enumerate(ids[1:]):
            box = plt.Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=ORANGE, lw=2)
            ax.add_patch(box)
        ax.set_xticks(range(len(vocabulary)), vocabulary.tokens, rotation=30)
        ax.set(xlabel="next word", title=name)
    axes[0].set_yticks(range(len(ids) - 1), vocabulary.decode(ids[:-1]))
    axes[0].set(ylabel="word read, from the top")
    figure.colorbar(image, ax=axes, label="probability; orange: the word that comes")
    return figure


# %% [markdown]
# ## 2. Perplexity
#
# The loss is the mean of -log p over the words that came, in nats; divided by log 2, in bits. Its
# exponential is the perplexity:
#
#     perplexity = exp(mean of -log p) = (p_1 p_2 ... p_n)^(-1/n)
#
# A model that is always torn between k equally probable words has perplexity k. So it says between
# how many equally likely words the model wavers, on (geometric) average. It is 1 for a model that
# knows every word in advance, and the size of the vocabulary for one that knows nothing. It is
# infinite if a word comes that the model called impossible.
#
# The table computes it in plain Python from the probabilities of part 1. One word at a time the net
# ends where the bigram count is, 2^(2/7) = 1.219: it wavers between two words at two of seven
# places. With a state it knows the sentence.


# %%
def measures(p: Sequence[float]) -> tuple[float, float, float]:
    """Return nats and bits a word, and the perplexity, from the words' probabilities."""
    nats = -sum(math.log(q) for q in p) / len(p)
    return nats, nats / math.log(2), math.exp(nats)


def perplexities(found: dict[str, Any]) -> dict[str, Any]:
    """Print and return the measures of each model of the sentence."""
    t = found["ids"][1:].tolist()
    table = {}
    print(f"  {'model':<18}  nats   bits  perplexity")
    for name, p in found["says"].items():
        of_words = [float(p[k, word]) for k, word in enumerate(t)]
        table[name] = nats, bits, perplexity = measures(of_words)
        assert math.isclose(perplexity, math.prod(of_words) ** (-1 / len(t)))
        print(f"  {name:<18} {nats:5.3f}  {bits:5.3f}  {perplexity:10.3f}")
    for name, loss in found["losses"].items():
        assert math.isclose(table[name][0], loss, rel_tol=1e-9)  # the graph says the same
    return table


# %% [markdown]
# ## 3. A grammar, whose best perplexity is known
#
# How low can the loss get? For a text that people wrote nobody knows. So here is a text made by a
# machine (`symrnn.tasks.grammar`): 51 words and <eos>, which ends a sentence. It has states, says
# in each of them a word by chance, and goes on to the next state. Who knows the grammar knows its
# state, and from that the exact probability of each next word. What is left is chance: the entropy
# rate, here 1.579 nats a word. Its exponential, 4.850, is the lowest perplexity there can be. The
# best model that sees one word has 7.089; one that sees none has 35.7.
#
# The net has 64 units and reads 210,000 words five times, in batches of 35 rows and 20 steps (part
# 4). On 40,000 words that it has not seen it gets to 4.933, which is 1.7 % above the best possible.
# (On these words the grammar itself has 4.848; chance makes that a little more or less.) The bigram
# count, with 0.1 added to all counts so that nothing is impossible, has 7.103.
#
# The right picture shows what memory is worth: the best perplexity of a model that knows the
# grammar but sees only the last n words. It is 6.152 with two words, 5.067 with five, 4.956 with
# eight and 4.857 with twenty. The net does a little better than eight words, perfectly used, would
# let it.

N_EMBED, N_HIDDEN, RATE, DECAY = 32, 64, 0.005, 0.6
ROWS, STEPS, VALID_ROWS = 35, 20, 10


# %%
class Run(NamedTuple):
    """A training: validation perplexity after each epoch, updates, seconds without validation."""

    perplexity: list[float]
    n_updates: int
    seconds: float


class Net:
    """An Elman language model, compiled once, and begun anew for each training."""

    def __init__(self, n_tokens: int, rng: Rng, mode: Any) -> None:
        self.model = LanguageModel(n_tokens, N_EMBED, N_HIDDEN, rng, cell=ElmanCell)
        self.rate = pytensor.shared(np.asarray(RATE, pytensor.config.floatX), name="rate")
        (self.carried,) = carried = self.model.carry(batch_size=1)
        self.step = self.model.compile_training(self.rule, carried, mode)
        self.start = {v: v.get_value() for v in self.updates}  # weights, and Adam's averages
        x = pt.lmatrix("x")
        z, (final,) = self.model.logits(x, [self.carried.state])
        self.logits = pytensor.function([x], z, updates=self.carried.updates(final), mode=QUICK)

    def rule(self, loss: Any, params: list[Any]) -> Any:
        """Adam with clipped gradients."""
        gradients = clip_by_global_norm(pytensor.grad(loss, params), 1.0)
        self.updates = adam(gradients, params, self.rate)
        return self.updates

    def begin(self, rows: int) -> None:
        """Forget what was read: a state of zeros for each row."""
        for h in self.carried.state:
            h.set_value(np.zeros((rows, N_HIDDEN), h.dtype))

    def train(
        self, tokens: Any, valid: Any, rows: int, n_steps: int, epochs: int, reset: bool = False
    ) -> Run:
        """Train from the start; with `reset` the state is set to zero before each batch."""
        for v, value in self.start.items():
            v.set_value(value)
        batches, perplexity, seconds, n_updates = text.streams(tokens, rows, n_steps), [], 0.0, 0
        for epoch in range(epochs):
            self.rate.set_value(np.asarray(RATE * DECAY**epoch, self.rate.dtype))
            self.begin(rows)
            history = train(
                self.step,
                batches,
                epochs=1,
                each_step=(lambda *_: self.begin(rows)) if reset else None,
                label=f"{rows} rows, {n_steps} steps, epoch {epoch + 1}",
            )
            if history.interrupted:
                raise KeyboardInterrupt
            seconds, n_updates = seconds + history.seconds, n_updates + len(history.loss)
            perplexity.append(float(np.exp(of_next(self.says(valid, reset), valid).mean())))
        return Run(perplexity, n_updates, seconds)

    def says(self, batches: Any, reset: bool = False) -> Any:
        """Return p of each word as the next one, (time, rows, tokens), for a text in batches."""
        found = []
        for k, (x, _) in enumerate(batches):
            if reset or k == 0:
                self.begin(x.shape[1])
            found.append(softmax(self.logits(x)))
        return np.concatenate(found)


def of_next(p: Any, batches: Any) -> Any:
    """Return -log p of the words that came, (time, rows)."""
    t = np.concatenate([t for _, t in batches])
    return -np.log(np.take_along_axis(p, t[:, :, None], axis=2)[:, :, 0])


# %% [markdown]
# Since the grammar can be asked (`grammar.rules`: for each state its words, their probabilities and
# the next state), the net need not be judged by the words that happened to come. At each place of
# the validation text its probabilities q are compared with the exact ones p. What it loses there is
# the divergence
#
#     sum over words of p log(p / q)      nats, zero only if q = p (Kullback and Leibler, 1951)
#
# and the mean of that over all places is the gap between its loss and the entropy rate: 0.018 nats.
#
# The table says where it comes from. A verb must agree with its subject: one dog sleeps, many dogs
# sleep, doors open. If the verb or something else follows the subject after other words ("the dog
# near the doors ..."), the net loses 0.073 nats. These are 9 % of the words and 36 % of the gap: it
# has not forgotten the subject (part 7 has numbers), but is less sure of it than it could be.
# Inside noun phrases there is little to remember, and it loses 0.0145 nats; but they are 38 % of
# the words and so 31 % of the gap. This part is hardly about memory: all probabilities are a little
# wrong, and more updates make them better (part 7).


# %%
class Places(NamedTuple):
    """For each place of a text in batches, (time, rows): what the grammar knows of its next word.

    `exact` are the probabilities, (time, rows, words). `kind` says what comes; where it is the
    verb, or something else that follows the subject, `between` counts the words since the noun.
    """

    exact: Any
    kind: Any
    between: Any


def kind_of(state: Any) -> str:
    """Say what the grammar is about to make in a state."""
    match state:
        case "sentence":
            return "first word of a sentence"
        case ("subject", _, _):
            return "what follows the subject"
        case (("subject", _, _), "one" | "many"):
            return "verb in a clause"
        case ("end" | "adverb", _):
            return "end, adverb, because"
        case ("adjective" | "because" | "pronoun", _) | "last adjective" | "last":
            return "after is, are and because"
    return "inside a noun phrase"


def places(grammar: Grammar, tokens: Any, rows: int) -> Places:
    """Follow the grammar's states along a text, and lay it out as `text.streams` does."""
    number = {state: i for i, state in enumerate(grammar.states)}
    state, noun, states, between = grammar.start, 0, [], []
    for place, word in enumerate(grammar.decode(tokens)):
        if state == "sentence":
            noun = -1  # no subject yet
        elif kind_of(state) == "what follows the subject" and noun < 0:
            noun = place - 1
        states.append(state)
        between.append(place - 1 - noun if kind_of(state) == "what follows the subject" else -1)
        state = grammar.rules[state][word][1]

    def in_rows(values: Sequence[Any]) -> Any:
        return np.array(values)[1:].reshape(rows, -1).T

    exact = grammar.probabilities[in_rows([number[s] for s in states])]
    return Places(exact, in_rows([kind_of(s) for s in states]), in_rows(between))


def divergence(p: Any, q: Any) -> Any:
    """Return the sum over the last axis of p log(p / q), where p is not zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(p > 0, p * np.log(p / q), 0).sum(axis=-1)


def best_with_words(grammar: Grammar, n_words: int) -> Any:
    """Return the lowest loss of who knows the grammar and sees only the last 1 ... n words, nats.

    Where in a sentence these words begin is not known, so each state has a probability: at first
    how often it occurs. A word leaves those that can say it, and moves them on. All texts of n
    words lead to a few hundred such beliefs only, so the mean over all of them is exact.
    """
    number = {state: i for i, state in enumerate(grammar.states)}
    moves = np.zeros((len(grammar.words), len(number), len(number)))
    for state, outgoing in grammar.rules.items():
        for word, (p, following) in outgoing.items():
            moves[grammar.words.index(word), number[state], number[following]] = p
    beliefs, chances, losses = grammar.stationary[None], np.ones(1), []
    for _ in range(n_words):
        moved = beliefs @ moves  # (words, beliefs, states)
        p = moved.sum(axis=2)  # of each word after each belief
        chances, moved = (chances * p)[p > 0], moved[p > 0] / p[p > 0, None]
        beliefs, which = np.unique(moved.round(9), axis=0, return_inverse=True)
        chances = np.bincount(which.ravel(), chances)
        losses.append(chances @ entropy(beliefs @ grammar.probabilities))
    return np.array(losses)


def entropy(p: Any) -> Any:
    """Return -(sum of p log p) over the last axis."""
    return -(p * np.log(np.where(p > 0, p, 1))).sum(axis=-1)


def gap_by_kind(where: Places, lost: Any) -> dict[str, tuple[float, float, float]]:
    """Print and return, for each kind of place: its share of the words, loss, share of the gap."""
    groups = {kind: where.kind == kind for kind in np.unique(where.kind)}
    follows = groups.pop("what follows the subject")
    groups["what follows the subject, at once"] = follows & (where.between == 0)
    groups["what follows it, words between"] = follows & (where.between > 0)
    found = {}
    print(f"  {'what comes':<34}% of words  nats above the best  % of the gap")
    for kind, there in sorted(groups.items(), key=lambda item: -lost[item[1]].sum()):
        share, mean, part = there.mean(), lost[there].mean(), lost[there].sum() / lost.sum()
        found[kind] = (float(share), float(mean), float(part))
        print(f"  {kind:<34}{100 * share:10.1f} {mean:20.4f} {100 * part:13.1f}")
    print(f"  {'all':<34}{100.0:10.1f} {lost.mean():20.4f} {100.0:13.1f}")
    return found


def draw_grammar(run: Run, levels: dict[str, float], memory: Any, reached: float) -> Any:
    """Validation perplexity by epoch, and the best that a memory of n words can do."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), sharey=True, layout="constrained")
    epochs = np.arange(1, len(run.perplexity) + 1)
    axes[0].plot(epochs, run.perplexity, "o-", color=BLUE, label="Elman net, validation")
    bigrams = levels["best that sees one word"]
    axes[0].axhline(bigrams, color=ORANGE, ls="--", label=f"best that sees one word: {bigrams:.3f}")
    n = np.arange(1, len(memory) + 1)
    axes[1].plot(n, memory, "o-", color=GREEN, markersize=4, label="best with the last n words")
    axes[1].axhline(reached, color=BLUE, ls="-.", label=f"the Elman net: {reached:.3f}")
    best = levels["best possible"]
    for ax in axes:
        ax.axhline(best, color="black", lw=1, label=f"best possible: {best:.3f}")
        ax.legend(loc="center right")
        ax.grid(alpha=0.3)
    axes[0].set(xlabel="epoch", ylabel="perplexity", xticks=epochs, title="training")
    axes[1].set(xlabel="n", title="what memory is worth", xticks=n[::2])
    return figure


# %% [markdown]
# ## 4. Batches for a text without an end
#
# The text is one long sequence of 210,000 steps. Backpropagation through all of it would need the
# states of all steps for a single update. So the text is cut twice (`text.streams`):
#
# - into rows, which are read side by side: the batch. Row 2 begins where row 1 ends;
# - each row into pieces of a few steps. A training step takes one piece of every row, and the next
#   training step takes the pieces that follow.
#
# The state after a piece is kept (`CarriedState`) and is where the next piece begins. But the
# gradient stops at the piece's first step. That is truncated backpropagation through time
# (Williams and Peng, 1990).


# %%
def draw_streams(words: Sequence[str], rows: int, n_steps: int) -> Any:
    """How `text.streams` cuts a short text."""
    tokens = np.arange(len(words))
    batches = text.streams(tokens, rows, n_steps)
    figure, ax = plt.subplots(figsize=(12.5, 3.2), layout="constrained")
    colours = ("#bee3f8", "#feebc8", "#c6f6d5")

    def cell(x: float, y: float, token: int) -> None:
        colour = colours[token // batches.row_length] if token < len(words) - 1 else "white"
        ax.add_patch(plt.Rectangle((x, y), 1, 1, facecolor=colour, edgecolor="black", lw=0.6))
        ax.text(x + 0.5, y + 0.5, words[token], ha="center", va="center", fontsize=7.5)

    def block(left: float, part: Any, name: str) -> None:
        for step, row in np.ndindex(part.shape):
            cell(left + step, rows - 1 - row, int(part[step, row]))
        ax.text(left + n_steps / 2, -0.15, name, ha="center", va="top")

    for token in tokens:
        cell(token, rows + 1, token)
    for k, (x, t) in enumerate(batches):
        left = 1.8 + k * (n_steps + 2)
        block(left, x, f"x of batch {k + 1}")
        block(14.8 + k * (n_steps + 1), t, f"t of batch {k + 1}")
        for row in range(rows):
            start, end = (left - 1.8, row + 0.45), (left - 0.1, row + 0.45)
            ax.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": GREY})
            ax.text(left - 1, row + 0.5, "state" if k else "zeros", ha="center", va="bottom",
                    color=GREY)  # fmt: skip
    title = f"{len(words)} words in {rows} rows, and batches of {n_steps} steps"
    ax.set(xlim=(-0.1, len(words) + 0.1), ylim=(-0.8, rows + 2.1), title=title)
    ax.set_axis_off()
    return figure


# %% [markdown]
# ## 5. What is cut
#
# The sentence of part 1 in two pieces, "you say goodbye and" and "i say hello", and the loss L of
# the second one. Going back by hand, as in lesson 5, from the last step to the first,
#
#     dh_t = what comes from the output + dz_{t+1} W_h^T      dz_t = dh_t * (1 - h_t^2)
#     dL/dW_h = sum over t of h_{t-1}^T dz_t
#
# dL/dh_4 is what arrives at the state between the pieces. Truncation throws it away. Followed
# on through the first piece, it gives the part of the gradient that is missing: how the first
# piece should have been read so that the second is predicted better. Both parts together are the
# gradient of the whole sequence.


# %%
def back_through(h: Any, W_h: Any, from_outputs: Any, from_later: Any) -> tuple[Any, Any]:
    """Return dL/dW_h of the steps of a piece, and dL/dh before its first step.

    h is (time + 1, units) and begins with the state before the first step; `from_outputs` is what
    each step's own loss says, (time, units), and `from_later` what comes from the next piece.
    """
    d_W_h = np.zeros_like(W_h)
    for step in reversed(range(len(from_outputs))):
        dz = (from_outputs[step] + from_later) * (1 - h[step + 1] ** 2)
        d_W_h += np.outer(h[step], dz)
        from_later = dz @ W_h.T
    return d_W_h, from_later


def cut_in_two(ids: Any, n_tokens: int, seed: int) -> dict[str, float]:
    """Compare gradients with respect to W_h: by how much they differ, and how much is missing."""
    net, x, t = Tiny(n_tokens, np.random.default_rng(seed)), pt.lmatrix("x"), pt.lmatrix("t")
    carried = CarriedState(net.cell, batch_size=1)
    z, h, final = net(x, carried.state)
    loss = categorical_cross_entropy(z[-3:], t[-3:])  # of the last three words
    outputs = [pytensor.grad(loss, net.cell.W_h), h, z]
    piece = pytensor.function([x, t], outputs, updates=carried.updates(final), mode=QUICK)

    x_value, t_value = ids[:-1, None], ids[1:, None]
    whole, h, z = piece(x_value, t_value)
    carried.reset()
    piece(x_value[:4], t_value[:4])
    cut, _, _ = piece(x_value[4:], t_value[4:])

    h, W_h = np.vstack([np.zeros((1, 8)), h[:, 0]]), net.cell.W_h.get_value()
    d_z = (softmax(z[4:, 0]) - np.eye(n_tokens)[ids[5:]]) / 3  # the mean of three steps
    by_hand, passed = back_through(h[4:], W_h, d_z @ net.output.W.get_value().T, 0.0)
    rest, _ = back_through(h[:5], W_h, np.zeros((4, 8)), passed)
    return {
        "by hand": float(np.abs(cut - by_hand).max()),
        "whole": float(np.abs(cut + rest - whole).max()),
        "missing": float(np.linalg.norm(rest) / np.linalg.norm(whole)),
    }


# %% [markdown]
# How much is missing depends on how far back a loss is heard. For the nets of part 3
# `explain.gradient_flow` measures |dL/dh_t|, the loss being that of the last word of 41, for the
# net before and after training. At first it fades slowly, because W_h starts as a rotation (lesson
# 7): 0.53 is left after 20 steps. The trained net listens to what is near: 0.65 after one step,
# 0.19 after five, 0.06 after 20, and less than 0.001 after 35, for what was before the sentence
# does not matter. Note that a piece of n steps does not give n steps to all: the loss of its last
# word goes back n - 1 steps, that of its first one none.


# %%
def reach(net: Net, tokens: Any, n_steps: int) -> Any:
    """Return |dL/dh_t| for the loss of a piece's last word, divided by that at the last step."""
    x, t = pt.lmatrix("x"), pt.lmatrix("t")
    h, _ = unroll(net.model.cells[0], net.model.embedding(x))
    loss = categorical_cross_entropy(net.model.output(h)[-1], t[-1])
    x_value, t_value = text.streams(tokens, len(tokens) // (n_steps + 10), n_steps)[0]
    flow = explain.gradient_flow(loss, h, {x: x_value, t: t_value})
    return flow[::-1] / flow[-1]  # by steps back


# %% [markdown]
# ## 6. What is kept
#
# The state goes on: at a piece's first step it still holds what was read before. What that is worth
# is seen without it. The same net is used with the state set to zero before each piece of 20 steps;
# and another one is trained that way too. Measured is the divergence of part 3, at each step of a
# piece. (The first piece of each row is left out: it begins with zeros anyway.)
#
# With the state carried, a piece's first step is as good as its last. Reset in use, the net loses
# 1.04 nats at the first step: it hardly ever saw zeros within a sentence. The net that was trained
# with resets loses 0.40, and nobody could lose less than 0.38 there: one word is known, and
# this is the best bigram. After that it knows a word more at each step. Yet after 20 of them it
# still loses more than the other net, and on average 0.079 nats: a perplexity of 5.25.


# %%
def by_step(lost: Any, n_steps: int) -> Any:
    """Return the mean for each step of a piece, from (time, rows); without the first pieces."""
    return lost.reshape(-1, n_steps, lost.shape[1])[1:].mean(axis=(0, 2))


# %% [markdown]
# ## 7. How long should a piece be?
#
# The same text five times, cut in two ways. First with 700 words in each batch: 1 step of 700 rows,
# 5 of 140, 20 of 35, 35 of 20. Then the number of updates is the same, 1500, and what differs is
# how far gradients go. Second with 35 rows, where short pieces mean more updates.
#
# *The same updates.* From 1 step to 5 the perplexity falls from 5.624 to 4.954, with 20 it is
# 4.933, with 35 it is 4.925. The right columns say what has been learnt: of the probability that
# the net gives to verbs after a subject, how much is given to those that fit? With pieces of one
# step, and three or more words between noun and verb, hardly more than bigram counts give. No
# gradient has ever told W_h that the subject will be needed later. (Still 5.624 is less than 7.089:
# what happens to be in the state is used.) With five steps no gradient goes back more than four,
# and yet after nine or more words 84 % fit: what is learnt over three words, to hold on to the
# subject, goes on to work over more. With 20 and 35 steps there are 91 and 94 %.
#
# *The same rows.* One step gets to 5.408 by 30,000 updates, which take about twice the time, and
# after six words the verbs fit as badly. With 6000 updates pieces of five steps get to 4.914, and
# 35 steps with 860 updates to 4.984. This is one seed and one rate for all, so differences below
# one per cent mean nothing. What is certain: pieces of one step are far worse, and beyond five
# longer ones are no aim in themselves: they have to be long enough to show the net once what
# depends on what.
#
# (Between noun and verb there are none, or three words and more, as in "the dogs near the door".)

LENGTHS = (1, 5, 20, 35)
BETWEEN = {"0": (0, 0), "3": (3, 3), "4-5": (4, 5), "6-8": (6, 8), "9 or more": (9, 10**6)}


# %%
def agreement(grammar: Grammar, q: Any, where: Places) -> list[float]:
    """Return how much of the probability of all verbs belongs to those that fit the subject.

    For each number of words between the subject's noun and the place.
    """
    verbs = set(" ".join([*VERBS.values(), *TRANSITIVE.values(), *BE.values()]).split())
    is_verb = np.array([word in verbs for word in grammar.words])
    there = where.between >= 0
    q, exact, between = q[there] * is_verb, where.exact[there], where.between[there]
    fits = q.sum(axis=1, where=exact > 0) / q.sum(axis=1)
    return [
        float(fits[(low <= between) & (between <= high)].mean()) for low, high in BETWEEN.values()
    ]


def in_columns(shares: Sequence[float]) -> str:
    """Write shares as per cent below the names of `BETWEEN`."""
    return "".join(f"{100 * s:>{2 + len(b)}.0f}" for s, b in zip(shares, BETWEEN, strict=True))


def draw_truncation(
    reached: dict[str, Any], steps: dict[str, Any], agreed: dict[str, list[float]]
) -> Any:
    """How far gradients reach, what a reset costs, and which verbs fit."""
    figure, axes = plt.subplots(1, 3, figsize=(14, 4.2), layout="constrained")
    for name, flow in reached.items():
        axes[0].semilogy(flow, color=BLUE if name == "after training" else GREY, label=name)
    for n in LENGTHS:
        axes[0].axvline(n, color=ORANGE, linewidth=1.2, linestyle=":")
    axes[0].set(xlabel="steps back (dotted: the lengths of part 7)", ylabel="|dL/dh|, last step: 1")
    axes[0].set(title="how far back a loss is heard")
    for (name, lost), style in zip(steps.items(), ("-", "--", "-", ":"), strict=True):
        axes[1].plot(range(1, len(lost) + 1), lost, style, marker="o", markersize=3, label=name)
    axes[1].set(xlabel="step within the piece", ylabel="nats above the best possible")
    axes[1].set(title="the state carried or reset", yscale="log")
    axes[1].set_xticks([1, *range(5, STEPS + 1, 5)])
    for k, (name, shares) in enumerate(agreed.items()):
        line = "--" if name == "bigram counts" else "-"
        axes[2].plot(100 * np.array(shares), f"o{line}", color=f"C{k}", label=name)
    axes[2].set(xlabel="words between noun and verb", ylabel="% on verbs that fit", ylim=(0, 104))
    axes[2].set_xticks(range(len(BETWEEN)), list(BETWEEN))
    axes[2].set(title="does the verb fit its subject?")
    for ax, place in zip(axes, ("lower left", "upper right", "center right"), strict=True):
        ax.legend(loc=place, fontsize=9)
        ax.grid(alpha=0.3)
    return figure


# %%
def main(
    mode: str | None = None,
    seed: int = 1,
    epochs: int = 5,
    figures: str = "figures",
    quick: bool = False,
) -> dict[str, Any]:
    """Run the lesson; return what its parts found."""
    lessons.positive_option("--epochs", epochs)
    folder = lessons.figure_folder(figures, quick)
    with pytensor.config.change_flags(floatX="float64"):
        print("1. A sentence", flush=True)
        tiny = sentence(seed, 50 if quick else 300)
        lessons.save_figure(draw_sentence(tiny), folder, "13_tiny")
        print("\n2. Perplexity")
        tiny["table"] = perplexities(tiny)
        cut = cut_in_two(tiny["ids"], len(tiny["vocabulary"]), seed)  # for part 5
    with pytensor.config.change_flags(floatX="float32"):
        mode = mode or (QUICK if quick else "NUMBA")
        found = lesson(cut, mode, seed, 1 if quick else epochs, folder, quick)
    lessons.show_figures()
    return found | {"tiny": tiny}


def lesson(
    cut: dict[str, Any], mode: Any, seed: int, epochs: int, folder: Any, quick: bool
) -> dict[str, Any]:
    """Do parts 3 to 7."""
    print("\n3. A grammar, whose best perplexity is known", flush=True)
    rng, grammar = np.random.default_rng(seed), english()
    n_words, n_valid = (1_401, 2_001) if quick else (210_001, 40_001)
    tokens, valid = grammar.sample(rng, n_words), grammar.sample(rng, n_valid)
    print(f"  {' '.join(grammar.decode(valid[:25]))} ...")
    batches = text.streams(valid, VALID_ROWS, STEPS)
    where = places(grammar, valid, VALID_ROWS)
    counts = bigram(tokens[:-1], tokens[1:], len(grammar.words), extra=0.1)
    counted = np.concatenate([counts[x] for x, _ in batches])
    levels = {
        "knows no word": math.exp(grammar.unigram_entropy),
        "best that sees one word": math.exp(grammar.bigram_entropy),
        "best possible": grammar.perplexity,
        "bigram counts, validation": float(np.exp(of_next(counted, batches).mean())),
        "the grammar itself, validation": float(np.exp(of_next(where.exact, batches).mean())),
    }
    print(f"  entropy rate: {grammar.entropy_rate:.3f} nats a word; perplexities:")
    for name, level in levels.items():
        print(f"  {name:<31}{level:7.3f}")

    net = Net(len(grammar.words), rng, mode)
    reached = {} if quick else {"before training": reach(net, valid, 41)}
    run = net.train(tokens, batches, ROWS, STEPS, epochs)
    print(f"  Elman net by epoch: {'  '.join(f'{p:.3f}' for p in run.perplexity)}")
    for name in ("best possible", "the grammar itself, validation"):
        above = 100 * (run.perplexity[-1] / levels[name] - 1)
        print(f"  which is {above:.1f} % above {levels[name]:.3f} ({name})")
    says = net.says(batches)
    lost = divergence(where.exact, says)
    kinds = gap_by_kind(where, lost)
    best_losses = best_with_words(grammar, STEPS)
    memory = np.exp(best_losses)
    told = ", ".join(f"{n}: {memory[n - 1]:.3f}" for n in (1, 2, 3, 5, 8, 12, 20))
    print(f"  best with the last n words   {told}")
    figure = draw_grammar(run, levels, memory, grammar.perplexity * np.exp(lost.mean()))
    lessons.save_figure(figure, folder, "13_grammar")

    print("\n4. Batches for a text without an end")
    x, t = text.streams(tokens, ROWS, STEPS)[0]
    print(f"  {len(tokens)} words in {ROWS} rows: x and t of a batch are {x.shape} and {t.shape}")
    figure = draw_streams(grammar.decode(valid[:25]), rows=3, n_steps=4)
    lessons.save_figure(figure, folder, "13_streams")

    print("\n5. What is cut")
    print(f"  second piece, state carried, against by hand: {cut['by hand']:.0e}")
    print(f"  this and the missing part, against the whole: {cut['whole']:.0e}")
    print(f"  the missing part is {100 * cut['missing']:.0f} % as long as the whole gradient")
    reached["after training"] = reach(net, valid, 41)
    for name, flow in reached.items():
        told = ", ".join(f"{n}: {flow[n]:.3f}" for n in LENGTHS)
        print(f"  |dL/dh| so many steps back, {name:<16} {told}")

    print("\n6. What is kept", flush=True)
    steps = {
        "carried": by_step(lost, STEPS),
        "reset in use": by_step(divergence(where.exact, net.says(batches, reset=True)), STEPS),
    }
    net.train(tokens, batches, ROWS, STEPS, epochs, reset=True)
    lost_reset = divergence(where.exact, net.says(batches, reset=True))
    steps["reset in training too"] = by_step(lost_reset, STEPS)
    steps["best possible, reset"] = best_losses - grammar.entropy_rate
    print("  nats above the best at step       1      2      5     10     20   mean  perplexity")
    for name, by in steps.items():
        told = " ".join(f"{by[n - 1]:6.3f}" for n in (1, 2, 5, 10, 20))
        perplexity = grammar.perplexity * math.exp(by.mean())
        print(f"  {name:<28} {told} {by.mean():6.3f} {perplexity:11.3f}")

    print("\n7. How long should a piece be?", flush=True)
    runs, agreed = {(ROWS, STEPS): run}, {"bigram counts": agreement(grammar, counted, where)}
    print("  steps  rows  updates  perplexity  seconds   % on verbs that fit, by words between")
    print(f"  {'':<42}  {'  '.join(BETWEEN)}")
    for n_steps in LENGTHS:
        for rows in dict.fromkeys((ROWS * STEPS // n_steps, ROWS)):
            key = rows, n_steps
            if key not in runs:
                runs[key] = net.train(tokens, batches, rows, n_steps, epochs)
            q = says if key == (ROWS, STEPS) else net.says(batches)
            shares = agreement(grammar, q, where)
            if rows * n_steps == ROWS * STEPS:
                agreed[f"pieces of {n_steps}"] = shares
            found = runs[key]
            print(
                f"  {n_steps:5}{rows:6}{found.n_updates:9}{found.perplexity[-1]:12.3f}"
                f"{found.seconds:9.1f} {in_columns(shares)}",
                flush=True,
            )
    level, shares = levels["bigram counts, validation"], agreed["bigram counts"]
    print(f"  {'bigram counts':<20}{level:12.3f}{'':9} {in_columns(shares)}")
    lessons.save_figure(draw_truncation(reached, steps, agreed), folder, "13_truncation")
    return {
        "levels": levels, "run": run, "kinds": kinds, "memory": memory, "cut": cut,
        "reached": reached, "steps": steps, "runs": runs, "agreed": agreed,
    }  # fmt: skip


if __name__ == "__main__":
    lessons.run(
        main,
        help={
            "mode": "how PyTensor compiles the training of parts 3 to 7 (default: NUMBA; with "
            "--quick, nothing is compiled)",
            "seed": "of the weights and the grammar's text",
            "epochs": "how often each net sees the text of parts 3 to 7",
            "figures": "folder for the figures",
            "quick": "short texts, seen once: too little to learn anything",
        },
    )
