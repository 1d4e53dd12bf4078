"""Lesson 22: the Transformer - what recurrence costs, and what it gives

What you learn
    Self-attention with several heads, by hand and as a graph. Why it needs positions, and what a
    causal mask is. Encoder, decoder and language model without a loop over time, side by side with
    LSTMs on three tasks: sums, dates, and characters of a text.

What you should see
    Five numbered parts and two figures: 22_positions.png and 22_comparison.png. A table with the
    accuracy, the weights and the time of each net. After one epoch of sums and of dates, which is
    all that the Transformers get by default (of characters two), they have a fifth of them right;
    LSTMs are far ahead of that, in a fraction of the time. With --full, two epochs of sums, a
    Transformer has 99.8 % of 5,000 new ones right, and the LSTM after as many 82 %. On dates and
    characters the LSTM stays ahead.

How long it takes (measured on two cores)
    One and a half minutes, with nothing compiled before. With --quick some 8 seconds, without
    sums and dates.

What you need to know
    Lesson 16 has sums, lesson 17 attention and dates, lesson 14 language models.

The file is a script and a notebook: editors that know `# %%` cells open it as one. There, run the
cells from the top; the last one runs the whole lesson.
"""

# %%
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import _lesson
import matplotlib.pyplot as plt
import numpy as np
import pytensor
import pytensor.tensor as pt

import symrnn as sr
from symrnn.models.seq2seq.model import LARGE
from symrnn.tasks.dates import dates
from symrnn.tasks.english_grammar import english
from symrnn.tasks.grammar import Grammar
from symrnn.tasks.strings import decimal_addition
from symrnn.text import Pair, PairVocabularies, Vocabulary, pair_batches, shuffled_windows, windows
from symrnn.training.schedules import advance, linear_to_zero, step_counter, warm_up

BLUE, ORANGE, GREY = "#2b6cb0", "#c2570c", "#555555"
NETS = {"LSTM": BLUE, "Transformer": ORANGE}
Array = np.ndarray[Any, Any]
Rng = np.random.Generator

# %% [markdown]
# ## 1. A sequence that looks at itself
#
# In lesson 17 a decoder looked at the outputs of an encoder, and both were recurrent. In
# self-attention (Vaswani et al., 2017) each step of a sequence looks at all steps of the same
# sequence. Three products with matrices make of each x_t a query q_t, a key k_t and a value v_t:
#
#     q = x W_q + b_q        [k, v] = x W_kv + b_kv
#     a_tj = softmax over j of (q_t . k_j / sqrt(d))
#     y_t = sum_j a_tj v_j
#
# One such mean can look at one thing at a time. So the n features are shared out among *heads*:
# each has d = n / n_heads features of q, k and v, and weights of its own. What the heads have found
# stands side by side, and one more product, with W_o, mixes it.
#
# Where the next token is to be predicted, a step must not look at those that follow it: with a
# *causal mask* the weights a_tj with j > t are 0. There is no loop over time here. All steps are
# there at once, and what a loop would say in T steps is one product of matrices.


# %%
def by_hand(attention: sr.MultiHeadAttention, x: Array, causal: bool) -> tuple[Array, Array]:
    """Return y and weights (heads, steps, positions) of one sequence x, (steps, features)."""
    W_q, b_q, W_kv, b_kv, W_o, b_o = (w.get_value() for w in attention.params)
    q = x @ W_q + b_q
    k, v = np.split(x @ W_kv + b_kv, 2, axis=1)
    heads, weights = [], []
    for own in np.split(np.arange(q.shape[1]), attention.n_heads):  # the features of a head
        scores = q[:, own] @ k[:, own].T / np.sqrt(len(own))  # (steps, positions)
        if causal:
            scores[np.triu_indices(len(x), 1)] = -np.inf
        e = np.exp(scores - scores.max(axis=1, keepdims=True))
        a = e / e.sum(axis=1, keepdims=True)
        heads.append(a @ v[:, own])
        weights.append(a)
    return np.concatenate(heads, axis=1) @ W_o + b_o, np.array(weights)


@pytensor.config.change_flags(floatX="float64")
def compare_with_graph(seed: int) -> dict[str, Array]:
    """Compute self-attention in NumPy and as a graph; return the weights with a causal mask."""
    rng = np.random.default_rng(seed)
    attention = sr.MultiHeadAttention(8, n_heads=2, rng=rng)
    x = pt.tensor3("x")
    value = rng.normal(size=(4, 1, 8))  # (time, batch, features)
    found = {}
    for causal in (False, True):
        f = sr.function([x], attention(x, causal=causal))
        y, weights = f(value)
        hand_y, found["causal" if causal else "all"] = by_hand(attention, value[:, 0], causal)
        np.testing.assert_allclose(y[:, 0], hand_y, atol=1e-13)
        np.testing.assert_allclose(
            weights[:, 0].swapaxes(0, 1), found["causal" if causal else "all"]
        )
    print("  weights of the first head with a causal mask, a row a step; the graph's are the same")
    for row in found["causal"][0]:
        print("   " + "".join(f"{a:7.3f}" for a in row))
    return found


# %% [markdown]
# ## 2. It does not know the order
#
# In the equations above nothing depends on where a step stands. If the steps come in another order,
# the outputs come in that order, and are the same. For an LSTM the order is all there is; attention
# sees a heap of vectors. So each step gets a vector that says where it is, added to what it is:
#
#     p_t,2i = sin(t / 10000^(2i/n))        p_t,2i+1 = cos(t / 10000^(2i/n))
#
# They are like the hands of many clocks, from a fast one to one that hardly moves.
# 22_positions.png has them, and p_t . p_s beside it: it depends on the distance t - s alone, and is
# largest where both are the same. So a head can find "the step before mine" by a product.
#
# A Transformer is made of layers: self-attention, in a decoder also attention to the encoder's
# outputs, and a net of one hidden layer at each step. Around each of them is a residual connection
# (lesson 18) and a layer normalisation (lesson 11).
#
# The cell below checks both statements, and a third one: in a language model with a causal mask,
# other tokens in the future change no output before them, not by a single bit.


# %%
@pytensor.config.change_flags(floatX="float64")
def order_and_future(seed: int) -> dict[str, float]:
    """Return largest differences: order with and without positions, past and future."""
    rng = np.random.default_rng(seed)
    attention, positions, x = sr.MultiHeadAttention(8, 2, rng=rng), sr.Positions(8), pt.tensor3("x")
    plain = sr.function([x], attention(x)[0])
    placed = sr.function([x], attention(x + positions(x.shape[0])[:, None])[0])
    value, order = rng.normal(size=(6, 1, 8)), rng.permutation(6)
    found = {
        "other order, without positions": abs(plain(value[order]) - plain(value)[order]).max(),
        "other order, with positions": abs(placed(value[order]) - placed(value)[order]).max(),
    }
    model, tokens = sr.TransformerLM(5, 8, 2, rng=rng, n_layers=1), pt.lmatrix("tokens")
    logits = sr.function([tokens], model.logits(tokens)[0])
    one = rng.integers(5, size=(6, 1))
    other = np.concatenate([one[:3], (one[3:] + 1) % 5])
    difference = abs(logits(one) - logits(other))
    found["other future, at steps before it"] = difference[:3].max()
    found["other future, from there on"] = difference[3:].max()
    for name, value in found.items():
        print(f"  {name:<34} differs by at most {value:.0e}")
    return found


def draw_positions(n_steps: int = 64, n: int = 32) -> Any:
    """The sines, and how well positions fit one another."""
    p = sr.Positions(n)(n_steps).eval(mode=sr.QUICK)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    image = left.imshow(p, cmap="RdBu", aspect="auto", interpolation="nearest")
    left.set(xlabel="feature", ylabel="position t", title="p_t: sines and cosines")
    figure.colorbar(image, ax=left)
    for t, shade in ((10, 0.4), (32, 0.7), (54, 1.0)):
        right.plot(p @ p[t], color=ORANGE, alpha=shade, label=f"t = {t}")
    right.set(xlabel="position s", ylabel=r"$p_t \cdot p_s$", title="how well they fit one another")
    right.legend(frameon=False, loc="lower left")
    right.grid(alpha=0.3)
    return figure


# %% [markdown]
# ## 3. Sums and dates
#
# Two tasks from string to string. Sums of numbers of up to three digits, ``16+75`` -> ``91``, are
# those of lesson 16: 45,000 to learn from, and none of the sums in the test was among them, nor
# with its numbers exchanged. Dates in fifteen formats are those of lesson 17. An answer counts if
# it is right as a whole (exact-match accuracy), and each net has to say it by itself, token after
# token.
#
# The LSTMs are the best ones of these lessons: for sums one that reads from the end and peeks, for
# dates one with dot attention. The Transformers read from the front, in the plain format. Both have
# about as many weights on each task. All learn by Adam; the learning rate falls to 0 along a
# straight line, after a short warm-up. The learning rates were found by a few trials each.
#
# The LSTM's loops over time are compiled to machine code. The Transformer has no loop: a step is
# some three thousand calls of NumPy, most of them products and sums of large arrays. (The option
# `--mode NUMBA` is for the LSTMs alone: to compile so long a graph in one piece takes numba very
# long and much memory.)


# %%
class Plan(NamedTuple):
    """How much of everything; pairs of numbers are for LSTM and Transformer."""

    n_train: int
    n_test: int
    batch: int
    epochs: tuple[int, int]
    learning_rates: tuple[float, float]
    n_units: tuple[int, int]  # of the LSTM, and features of the Transformer
    n_layers: int = 2  # of the Transformer


class Run(NamedTuple):
    """One training."""

    score: list[float]  # after each epoch: exact-match accuracy, or loss of unseen text
    seconds: list[float]  # of training until then
    n_weights: int
    first_step: float  # seconds until the first step was done
    final: float  # the score on all of the test


def make_optimizer(
    learning_rate: float, n_steps: int, *, clip: bool
) -> Callable[..., dict[Any, Any]]:
    """Return Adam with a warm-up, and a learning rate that then falls to 0."""
    t = step_counter()
    falling = linear_to_zero(t, learning_rate, n_steps=n_steps, n_last=n_steps)
    warmed_up = warm_up(t, falling, n_steps=max(1, n_steps // 8))

    def optimizer(loss: Any, params: list[Any]) -> dict[Any, Any]:
        gradients = pytensor.grad(loss, params)
        gradients = sr.clip_by_global_norm(gradients, 5.0) if clip else gradients
        return sr.adam(gradients, params, warmed_up) | advance(t)

    return optimizer


def run(
    name: str, make_step: Callable[[], Any], batches: Any, epochs: int, model: sr.Module,
    score: Callable[[bool], float],
) -> Run:  # fmt: skip
    """Compile, train, and test after each epoch; the last test is a larger one."""
    started = time.perf_counter()
    step = make_step()
    first_step = 0.0
    found: list[float] = []
    seconds: list[float] = []

    def each_step(number: int, loss: float) -> None:
        nonlocal started, first_step
        if number == 1:  # what else was there to compile is compiled now
            first_step = time.perf_counter() - started
            started += first_step

    def each_epoch(epoch: int, loss: float) -> None:
        nonlocal started
        seconds.append(time.perf_counter() - started + (seconds[-1] if seconds else 0))
        found.append(score(epoch == epochs))
        print(f"  {name:<12} epoch {epoch}: loss {loss:6.4f}, {seconds[-1]:4.0f} s, test "
              f"{found[-1]:.4f}", flush=True)  # fmt: skip
        started = time.perf_counter()

    history = sr.train(
        step, batches, epochs=epochs, label=name, each_step=each_step, each_epoch=each_epoch
    )
    if history.interrupted:
        raise KeyboardInterrupt
    return Run(found, seconds, model.n_params, first_step, found[-1])


def pair_run(name: str, data: tuple[list[Pair], list[Pair]], plan: Plan, options: Any, seed: int,
             mode: Any) -> Run:  # fmt: skip
    """Train an LSTM or a Transformer on pairs of strings."""
    training, test = data
    k, rng = list(NETS).index(name), np.random.default_rng(seed)
    both = PairVocabularies.build(training + test)
    sizes = len(both.source), len(both.target)
    model: Any
    if name == "LSTM":
        model = sr.Seq2Seq(*sizes, 16, plan.n_units[k], rng=rng, reverse=True, **options)
    else:
        model = sr.Transformer(*sizes, plan.n_units[k], 4, rng=rng, n_layers=plan.n_layers)
        mode = None
    batches = pair_batches(
        *both.encode(training), batch_size=plan.batch, eos=both.target.eos, rng=rng
    )
    n_steps = plan.epochs[k] * len(batches)
    optimizer = make_optimizer(plan.learning_rates[k], n_steps, clip=name == "LSTM")
    translator = sr.Translator(model, both, longest=12)
    return run(
        name, lambda: model.compile_training(optimizer, mode=mode), lambda: batches, plan.epochs[k],
        model, lambda last: translator.accuracy(test if last else test[:500]),
    )  # fmt: skip


# %% [markdown]
# ## 4. Characters
#
# The third task is to predict the next character. The text is made by the grammar of lesson 13, its
# sentences written in characters. How much of it cannot be known is known: the entropy of the next
# word, divided by the mean length of a word. Windows of 64 characters are learnt, each by itself:
# the LSTM begins with zeros in each, though it could carry its state on. Tested are windows of 64
# characters of an unseen text. Since both nets see little at the first positions, no net can reach
# the entropy there.


# %%
def as_characters(grammar: Grammar, rng: Rng, n_words: int) -> str:
    """Return a text of the grammar, sentences with a full stop."""
    return " ".join(grammar.decode(grammar.sample(n_words, rng=rng))).replace("<eos>", ".") + " "


def entropy_of_characters(grammar: Grammar) -> float:
    """Return the nats per character of such a text: the lowest loss in the long run."""
    lengths = np.array([1 if word == "<eos>" else len(word) for word in grammar.words]) + 1
    return grammar.entropy_rate / float(grammar.stationary @ grammar.probabilities @ lengths)


N_STEPS, LONG = 64, 256


def losses_by_position(logits: Any, tokens: Array, n_steps: int, seed: int) -> Array:
    """Return the mean loss at each position of windows, (n_steps,)."""
    x, t = windows(tokens, n_samples=100, n_steps=n_steps, rng=np.random.default_rng(seed))
    z = logits(x).astype(np.float64)
    log_p = z - np.log(np.exp(z - z.max(axis=2, keepdims=True)).sum(axis=2, keepdims=True))
    log_p -= z.max(axis=2, keepdims=True)
    steps, samples = np.indices(t.shape)
    return -log_p[steps, samples, t].mean(axis=1)


def character_run(name: str, text: tuple[str, str], plan: Plan, seed: int, mode: Any) -> Any:
    """Train a language model; return its run, the loss at each position, the model and the step."""
    k, rng = list(NETS).index(name), np.random.default_rng(seed)
    vocabulary = Vocabulary.build(text[0])
    training, test = (vocabulary.encode(part) for part in text)
    model: Any
    if name == "LSTM":
        model = sr.LanguageModel(len(vocabulary), 32, plan.n_units[k], rng=rng, W_embed=LARGE)
    else:
        sizes = len(vocabulary), plan.n_units[k], 4
        model = sr.TransformerLM(*sizes, rng=rng, n_layers=plan.n_layers)
        mode = None
    x, t = pt.lmatrix("x"), pt.lmatrix("t")
    z, _ = model.logits(x)
    loss = sr.categorical_cross_entropy(z, t)
    n_batches = -(-((len(training) - 1) // N_STEPS) // plan.batch)
    n_steps = plan.epochs[k] * n_batches
    optimizer = make_optimizer(plan.learning_rates[k], n_steps, clip=name == "LSTM")
    updates = optimizer(loss, model.params)
    step: list[Any] = []

    def make_step() -> Any:
        step.append(sr.function([x, t], loss, updates=updates, mode=mode))
        return step[0]

    logits = sr.function([x], z)
    found = run(
        name, make_step,
        partial(shuffled_windows, training, batch_size=plan.batch, n_steps=N_STEPS, rng=rng),
        plan.epochs[k], model,
        lambda _: float(losses_by_position(logits, test, N_STEPS, seed).mean()),
    )  # fmt: skip
    return found, losses_by_position(logits, test, LONG, seed), model, step[0]


# %% [markdown]
# *What to notice.* The table has it all side by side. A trial on one core that others used too, for
# sums and dates with the epochs of `--full`, for characters with the default's, gave:
#
#     sums    LSTM          217,211 weights   2 epochs of  9 s   81.7 % of 5,000 unseen sums right
#     sums    Transformer   235,915 weights   2 epochs of 90 s   99.8 %
#     dates   LSTM          152,716 weights   3 epochs of  5 s   98.5 % of 2,000 unseen dates right
#     dates   Transformer   122,380 weights   3 epochs of 17 s   75.4 %
#
# In its second epoch the Transformer learns what the LSTM has not yet understood of sums; per
# second the LSTM is not behind, for its epochs take a tenth of the time (lesson 16: with a few
# epochs more it too has over 99 %). On dates the LSTM with attention is ahead in both. And on
# characters: 0.45 nats after 3 epochs, where the text has 0.34; the Transformer has 1.13 after 2.
# So attention alone is no gain as such: on two cores, with data as little and sequences as short as
# these, a loop of small products costs little, and a net that is told the order learns sooner.
#
# ## 5. What recurrence costs, and what it gives
#
# *It costs time.* h_t needs h_{t-1}, so of T steps each has to wait for the one before. However
# many processors there are, that is T products, one after the other, of small matrices. The
# Transformer's products are as many for a long sequence as for a short one, only larger; that is
# why it fits processors with thousands of units. And the way from a token to any other is one step
# long, where the LSTM has to carry it through all states between.
#
# *It gives a state of constant size.* All that an LSTM knows of what it has read are h and c. A
# Transformer keeps keys and values of every token, and looks at all of them for each new one: the
# products q . k of a sequence are T^2. The table below has the numbers that both models of part 4
# hold while they write, and the time of a training step, for windows of some lengths.
#
# *It gives any length.* A step of the LSTM is the same at position 10 and at position 10,000. The
# last picture of 22_comparison.png has the loss at each position of windows of 256 characters, for
# nets that learnt with windows of 64.


# %%
def costs(models: dict[str, Any], steps: dict[str, Any], lengths: list[int]) -> dict[str, Array]:
    """Print and return, for each net: numbers kept and ms of a training step, (lengths, 2)."""
    print(f"  {'':<12}{'characters':>12}{'numbers kept':>14}{'ms a training step':>20}")
    found = {}
    for name, model in models.items():
        next_token = model.compile_next()
        token, state, kept = np.zeros(1, np.int64), model.zeros(1), []
        for _ in range(max(lengths)):
            _, *state = next_token(token, *state)
            kept.append(sum(s.size for s in state))
        ms = []
        for n in lengths:
            x = np.zeros((n, 16), np.int64)
            steps[name](x, x)
            times = []
            for _ in range(3):
                started = time.perf_counter()
                steps[name](x, x)
                times.append(time.perf_counter() - started)
            ms.append(1000 * min(times))
            print(f"  {name:<12}{n:>12}{kept[n - 1]:>14,}{ms[-1]:>20.1f}")
        found[name] = np.array([[kept[n - 1] for n in lengths], ms]).T
    return found


def report(runs: dict[str, dict[str, Run]], floor: float) -> None:
    """Print the table of all tasks."""
    print(f"  {'':<12}{'':<12}{'weights':>9}{'epochs':>8}{'s an epoch':>12}{'first step, s':>15}"
          f"{'test':>14}")  # fmt: skip
    for task, of_nets in runs.items():
        for name, r in of_nets.items():
            shown = f"{r.final:.4f} nats" if task == "characters" else f"{100 * r.final:.2f} %"
            print(
                f"  {task:<12}{name:<12}{r.n_weights:>9,}{len(r.seconds):>8}"
                f"{r.seconds[-1] / len(r.seconds):>12.1f}{r.first_step:>15.1f}{shown:>14}"
            )
    print(f"  entropy of the characters: {floor:.4f} nats")


def draw_comparison(
    runs: dict[str, dict[str, Run]], floor: float, by_position: dict[str, Array]
) -> Any:
    """Scores against the time of training, and the loss at each position of long windows."""
    figure, axes = plt.subplots(2, 2, figsize=(11, 7), layout="constrained")
    for ax, (task, of_nets) in zip(axes.flat, runs.items(), strict=False):
        for name, r in of_nets.items():
            characters = task == "characters"
            score = np.array(r.score) if characters else 100 * np.array(r.score)
            ax.plot(r.seconds, score, "o-", color=NETS[name], label=name, markersize=4)
        ax.set(xlabel="seconds of training", title=task, xlim=(0, None))
        ax.set_ylabel("loss of unseen text, nats" if characters else "exact-match accuracy, %")
        if characters:
            ax.axhline(floor, color=GREY, linestyle=":", label="entropy of the text")
        else:
            ax.set_ylim(-3, 103)
    last = axes[1, 1]
    for name, losses in by_position.items():
        smooth = losses.reshape(-1, 8).mean(axis=1)  # means of eight positions
        last.plot(np.arange(len(smooth)) * 8 + 4.5, smooth, color=NETS[name], label=name)
    last.axvline(N_STEPS, color=GREY, linestyle="--", label="windows of training end")
    last.axhline(floor, color=GREY, linestyle=":")
    last.set(xlabel="position in the window", ylabel="loss, nats", title="longer than in training")
    for ax in axes.flat:
        ax.grid(alpha=0.3)
        if ax.lines:
            ax.legend(frameon=False)
        else:  # with --quick there are no sums and dates
            ax.axis("off")
    return figure


# %% [markdown]
# *What to notice.* The LSTM keeps 256 numbers, after 16 characters and after 256; the Transformer
# has 32,768 by then. On two cores its training step is slower, too, at all three lengths: this is
# where processors with thousands of units would change the picture. At positions beyond 64, which
# no net has seen in training, the loss of the LSTM stays at 0.41. That of the Transformer goes from
# 1.1 to 2.1: the sines of these positions are new to it.
#
# ## Try it
#
# - Six epochs of sums with the LSTM take as long as one with the Transformer: which share is right
#   then? (In `PLANS`.)
# - In `pair_run`, `n_positions=40` for the Transformer: learned positions in place of sines. Does
#   it matter? And what does the model say to a source of 41 characters?
# - `norm="post"`, as in the first Transformers, without the warm-up in `make_optimizer`: does it
#   still learn?

PLANS = {
    "addition": Plan(45_000, 5_000, 64, (2, 1), (0.004, 0.002), (128, 64)),
    "dates": Plan(10_000, 2_000, 64, (3, 1), (0.006, 0.003), (128, 64), n_layers=1),
    "characters": Plan(40_000, 10_000, 32, (3, 2), (0.01, 0.003), (128, 64), n_layers=1),
}
FULL_EPOCHS = {"addition": (2, 2), "dates": (3, 3), "characters": (3, 3)}
SMALL = Plan(64, 20, 32, (1, 1), (0.01, 0.01), (8, 8), n_layers=1)


# %%
@pytensor.config.change_flags(floatX="float32")
def main(
    mode: str | None = None,
    seed: int = 1,
    full: bool = False,
    figures: str = "figures",
    quick: bool = False,
) -> dict[str, Any]:
    """Run the lesson; return what its parts found."""
    if full and quick:
        raise _lesson.OptionError("--full and --quick cannot be had together: choose one")
    folder = _lesson.figure_folder(figures, quick)
    plans = PLANS
    if full:
        plans = {task: plan._replace(epochs=FULL_EPOCHS[task]) for task, plan in PLANS.items()}
    if quick:
        plans = {"characters": SMALL._replace(n_train=600, n_test=400)}  # graphs take seconds
    rng = np.random.default_rng(seed)

    print("1. A sequence that looks at itself")
    weights = compare_with_graph(seed)

    print("\n2. It does not know the order", flush=True)
    differences = order_and_future(seed)
    _lesson.save_figure(draw_positions(), folder, "22_positions")

    runs: dict[str, dict[str, Run]] = {}
    print("\n3. Sums and dates" + (" (left out with --quick)" if quick else ""), flush=True)
    for task, make in (("addition", decimal_addition), ("dates", dates)):
        if task in plans:
            plan = plans[task]
            data = make(plan.n_train, plan.n_test, rng=rng)
            print(f"  {task}, for example {data[0][0][0]} -> {data[0][0][1]}")
            options = {"peeky": True} if task == "addition" else {"attention": "dot"}
            runs[task] = {name: pair_run(name, data, plan, options, seed, mode) for name in NETS}

    print("\n4. Characters", flush=True)
    grammar, plan = english(), plans["characters"]
    floor = entropy_of_characters(grammar)
    text = as_characters(grammar, rng, plan.n_train), as_characters(grammar, rng, plan.n_test)
    print(f"  {text[0][:70]} ...")
    found = {name: character_run(name, text, plan, seed, mode) for name in NETS}
    runs["characters"] = {name: f[0] for name, f in found.items()}
    by_position = {name: f[1] for name, f in found.items()}
    report(runs, floor)
    _lesson.save_figure(draw_comparison(runs, floor, by_position), folder, "22_comparison")

    print("\n5. What recurrence costs, and what it gives", flush=True)
    lengths = [8, 16] if quick else [16, 64, 256]
    models, steps = ({name: f[k] for name, f in found.items()} for k in (2, 3))
    cost = costs(models, steps, lengths)
    for name, losses in by_position.items():
        means = [losses[a:b].mean() for a, b in ((32, 64), (64, 96), (192, 256))]
        print(f"  {name:<12} loss at positions 33 to 64: {means[0]:.3f}, 65 to 96: {means[1]:.3f}, "
              f"193 to 256: {means[2]:.3f}")  # fmt: skip
    _lesson.show_figures()
    return {
        "weights": weights, "differences": differences, "runs": runs, "floor": floor,
        "by_position": by_position, "costs": cost,
    }  # fmt: skip


if __name__ == "__main__":
    _lesson.run(
        main,
        help={
            "seed": "of the initial weights, of the data and their order",
            "full": "more epochs for the Transformers: some six minutes",
            "figures": "folder for the figures",
            "quick": "little data and small nets: too little to learn anything",
        },
    )
