"""Lesson 17: attention that one can look at - dates in fifteen formats, and where the net looks

What you learn
    What attention computes, by hand and as a graph, and its four usual scores. Why attention after
    a decoder needs no loop, and attention that feeds the decoder does; that loop, written out. To
    train a net that reads dates as people write them, to see where it looks, and to find out
    whether it needs what it looks at. What it says when it is not sure: beam search and drawing.

What you should see
    Six numbered parts, and two figures: 17_maps.png and 17_strip.png. After four epochs a small net
    gets all but a few of 5,000 unseen dates right, and where it looks can be read off the pictures:
    at the year while it writes the year, then at the month, then at the day.

How long it takes (measured on two cores)
    Half a minute, with nothing compiled before. With --quick 6 seconds.

What you need to know
    Lesson 8 has the LSTM, lesson 16 encoder, decoder, masks and teacher forcing.

The file is a script and a notebook: editors that know `# %%` cells open it as one. There, run the
cells from the top; the last one runs the whole lesson.
"""

# %%
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy: two processes share two cores

import re
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import _lesson
import matplotlib.pyplot as plt
import numpy as np
import pytensor
import pytensor.tensor as pt

import symrnn as sr
from symrnn import plots, text
from symrnn.models.seq2seq.translation import Answer
from symrnn.nn.attention import SCORES
from symrnn.tasks.dates import FORMATS, dates

ORANGE = "#b7500f"
Array = np.ndarray[Any, Any]
Pairs = list[text.Pair]

# What every scan here is given: no second result, nothing forgotten, always a list (lesson 01).
SAFE: dict[str, Any] = {"return_updates": False, "strict": True, "return_list": True}

# %% [markdown]
# ## 1. A mean whose weights are computed
#
# In lesson 16 all that the decoder gets of the source is the encoder's last state. It has as many
# numbers for a source of 60 tokens as for one of 6. Yet the encoder has an output m_j for every
# source position j. Attention (Bahdanau et al., 2015) keeps them all, and lets the decoder take at
# each step t a mean of them, with weights of its own:
#
#     s_tj = score(q_t, m_j)                         how well position j fits the query q_t
#     a_tj = exp(s_tj) / sum_k exp(s_tk)             weights: positive, and their sum is 1
#     context_t = sum_j a_tj m_j                     the mean with these weights
#
# The query is a state of the decoder. With the score "dot" it is compared to a position by a
# product: q . m_j is large where both point into the same direction. The cell below has one query
# and three positions of two numbers, in NumPy and as a graph. With a mask the third position is
# only padding: it gets no weight, and the others share it.

QUERY = np.array([2.0, -1.0])
MEMORY = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])  # (positions, features)


# %%
def softmax(scores: Array) -> Array:
    """Return weights that are positive and sum to 1."""
    e = np.exp(scores - scores.max())
    return e / e.sum()


@pytensor.config.change_flags(floatX="float64")
def three_positions() -> dict[str, Array]:
    """Compute weights and context of the example by hand and as a graph."""
    scores = MEMORY @ QUERY
    weights = softmax(scores)
    context = weights @ MEMORY
    attention = sr.Attention("dot", 2, 2)
    query, memory = QUERY[None, None], MEMORY[:, None]  # (steps, batch, 2), (positions, batch, 2)
    graph = attention(query, memory)
    masked = attention(query, memory, mask=np.array([[1], [1], [0]]))
    c, a, c_masked, a_masked = sr.function([], [*graph, *masked])()
    np.testing.assert_allclose(a[0, 0], weights, atol=1e-15)
    np.testing.assert_allclose(c[0, 0], context, atol=1e-15)
    np.testing.assert_allclose(a_masked[0, 0], [*softmax(scores[:2]), 0], atol=1e-15)
    print(f"  scores                {as_text(scores)}")
    print(f"  weights               {as_text(weights)}   the graph's are the same")
    print(f"  context               {as_text(context)}")
    print(f"  third masked          {as_text(a_masked[0, 0])}   context {as_text(c_masked[0, 0])}")
    return {"weights": a[0, 0], "context": c[0, 0], "masked": a_masked[0, 0]}


def as_text(numbers: Any) -> str:
    """Return numbers as text."""
    return " ".join(f"{number:6.3f}" for number in numbers)


# %% [markdown]
# There are four usual scores. "dot" has no weights of its own, so encoder and decoder must learn to
# speak one language, and their outputs must be equally long. "scaled" divides by the square root of
# that length (Vaswani et al., 2017): the product of two long random vectors is large, and then the
# softmax gives nearly all to one position. "general" (Luong et al., 2015) puts a matrix between
# both, "additive" (Bahdanau et al., 2015) a layer of tanh. Both take a query of another length than
# m_j.

BY_HAND: dict[str, Callable[..., Array]] = {
    "dot": lambda q, m: m @ q,
    "scaled": lambda q, m: m @ q / np.sqrt(len(q)),
    "general": lambda q, m, W: m @ (q @ W),
    "additive": lambda q, m, W_q, W_m, b, v: np.tanh(q @ W_q + m @ W_m + b) @ v,
}
EQUATIONS = ("q . m", "q . m / sqrt(n)", "q W . m", "v . tanh(q W_q + m W_m + b)")


@pytensor.config.change_flags(floatX="float64")
def four_scores(seed: int) -> dict[str, Array]:
    """Print what each score needs; return its weights for the example, by hand and by a graph."""
    print("  score      equation                      its weights     numbers, n = 256   example")
    found = {}
    for score, equation in zip(SCORES, EQUATIONS, strict=True):
        attention = sr.Attention(score, 2, 2, rng=np.random.default_rng(seed))
        _, a = attention(QUERY[None, None], MEMORY[:, None])
        found[score] = a.eval(mode=sr.QUICK)[0, 0]
        own = [w.get_value() for w in attention.params]
        by_hand = softmax(BY_HAND[score](QUERY, MEMORY, *own))
        np.testing.assert_allclose(found[score], by_hand, atol=1e-15)
        names = ", ".join(w.name for w in attention.params) or "none"
        large = sr.Attention(score, 256, 256, rng=np.random.default_rng(seed))
        n = large.n_params
        print(f"  {score:<10} {equation:<29} {names:<15} {n:>16,} {as_text(found[score])}")
    return found


# %% [markdown]
# ## 2. After the decoder, or in it
#
# Who asks? There are two ways, and they differ in what has to be a loop.
#
# *Attention on the output* (Luong et al., 2015). The decoder's cell runs as in lesson 16 and does
# not know of attention. Its states h_t are the queries, and the context goes into the answer beside
# h_t. In training all tokens that the decoder reads are known, so all h_t are there before the
# first query is asked. One call of `attention` then does all steps: two products of matrices for
# each sample, and no loop.
#
# *Attention on the input* (Bahdanau et al., 2015). The query is the state *before* a step, and the
# context goes into the cell. So h_t depends on context_t, that on h_{t-1}, that on context_{t-1},
# and so on. Now attention belongs into the loop. The scan below says just that; its LSTM is that of
# lesson 3.
#
# The cell below compares, with random numbers: attention for four queries at once and one by one;
# and the scan by hand with `Seq2Seq(..., context_to="input")`, which has the same loop. A step of
# that loop has four products of matrices, one after the other (both within `attention`, and with
# W_x and W_h). With attention on the output only the one with W_h has to stay in the loop.


# %%
def decoder_by_hand(model: sr.Seq2Seq, encoded: Any, target: Any) -> tuple[Any, Any]:
    """Return logits (steps, batch, tokens) and weights (steps, batch, positions)."""
    previous = pt.concatenate([pt.full_like(target[:1], model.start), target[:-1]])
    attention, cell, n = model.decoder.attention, model.decoder.layers[0], model.n_hidden

    def step(x_t, h, c, memory, mask, W_x, W_h, b):
        context, weights = attention(h[None], memory, mask=mask)  # one query: the state before
        z = pt.concatenate([x_t, context[0]], axis=1) @ W_x + h @ W_h + b
        i, f, g, o = (z[:, k * n : (k + 1) * n] for k in range(4))
        c = pt.sigmoid(f) * c + pt.sigmoid(i) * pt.tanh(g)
        return [pt.sigmoid(o) * pt.tanh(c), c, weights[0]]

    h, _, weights = pytensor.scan(
        step,
        sequences=[model.embed_target(previous)],
        outputs_info=[*encoded.states[0], None],  # weights are not fed back
        non_sequences=[encoded.memory, encoded.mask, *cell.params],
        **SAFE,
    )
    return model.decoder.output(h), weights


@pytensor.config.change_flags(floatX="float64")
def two_ways(seed: int) -> dict[str, float]:
    """Compare what is said above, with random numbers; return the largest differences."""
    rng = np.random.default_rng(seed)
    attention, h, m = sr.Attention("dot", 8, 8), pt.tensor3("h"), pt.tensor3("m")
    mask = pt.matrix("mask", dtype="bool")
    together = attention(h, m, mask=mask)[0]
    apart = pt.concatenate([attention(h[t : t + 1], m, mask=mask)[0] for t in range(4)])
    differences = {"on the output, all at once and one by one": together - apart}

    source, target = pt.lmatrix("source"), pt.lmatrix("target")  # (time, batch)
    model = sr.Seq2Seq(7, 5, 3, 8, rng=rng, attention="dot", context_to="input")
    encoded = model.encode(source, mask)
    by_hand, _ = decoder_by_hand(model, encoded, target)
    library = model.logits(encoded, target)
    differences["on the input, by hand and in the library"] = library - by_hand
    largest = [abs(difference).max() for difference in differences.values()]
    compare = sr.function([h, m, mask, source, target], largest)
    values = compare(
        rng.normal(size=(4, 2, 8)), rng.normal(size=(6, 2, 8)),
        np.arange(6)[:, None] < [6, 4],  # the second sample has four positions
        rng.integers(7, size=(6, 2)), rng.integers(5, size=(4, 2)),
    )  # fmt: skip
    found = dict(zip(differences, values, strict=True))
    for name, value in found.items():
        print(f"  {name:<42} differ by at most {float(value):.0e}")
        assert value < 1e-12, value
    return found


# %% [markdown]
# ## 3. Dates
#
# People write one date in many ways, and a machine wants one: ISO 8601, 1994-09-27. The task has 15
# formats (`symrnn.tasks.dates`), and every string means one date: two digits are a year from 1969
# to 2068, and 10/5/93 is the fifth of October, since no format with slashes has the day first.
#
# The net is `Seq2Seq` with characters as tokens: 16 numbers for each, LSTMs, dot attention on the
# output. The encoder reads from the end (`reverse=True`), so the last that it reads is the
# beginning. The optimizer is Adam with gradients clipped at a norm of 5; in the second half of
# training its learning rate falls to 0 in a straight line. Batches hold sources of similar length.
# After each epoch the net answers dates that it has never seen, all tokens by itself, and an answer
# counts only if all of it is right (exact-match accuracy).
#
# By default there are 15,000 dates and 128 units, so that it takes less than a minute. `--full`
# has what is usually published for this task: 45,000 dates, 256 units, batches of 128.
#
# *What to notice.* After the first epoch 94 % are right, after the fourth 4,999 of all 5,000. (With
# the seeds 2 and 3 it is 4,999 and 4,996. Numbers may differ a little on another machine, or when
# the code has just been compiled, since it may round otherwise.) The net of `--full` has 98.4 %
# after the first epoch, 99.8 % after the second, and after the third it too has 4,999; with the
# seeds 2 and 3 all 5,000. What is still wrong is mostly a date without separators, such as
# 20131202, in which one has to count.


# %%
class Plan(NamedTuple):
    """How much of everything."""

    n_train: int
    n_test: int
    n_hidden: int
    batch_size: int
    epochs: int
    learning_rate: float


PLANS = {
    "quick": Plan(64, 40, 8, 32, 1, 0.004),
    "default": Plan(15_000, 5_000, 128, 64, 4, 0.006),
    "full": Plan(45_000, 5_000, 256, 128, 3, 0.005),
}
N_EMBED = 16


class Trained(NamedTuple):
    """A net, what it was trained for, and its exact-match accuracy after each epoch."""

    model: sr.Seq2Seq
    vocabularies: text.PairVocabularies
    translator: sr.Translator
    accuracy: list[float]


def train_on(training: Pairs, test: Pairs, plan: Plan, rng: Any, mode: Any) -> Trained:
    """Train a net; after each epoch print and note the accuracy on 1000 dates of the test."""
    both = text.PairVocabularies.build(training + test)  # all characters are known
    encoded = both.encode(training)
    batches = text.pair_batches(
        *encoded, batch_size=plan.batch_size, eos=both.target.eos, rng=rng, by_length=True
    )
    model = sr.Seq2Seq(
        len(both.source), len(both.target), N_EMBED, plan.n_hidden, rng=rng,
        reverse=True, attention="dot",
    )  # fmt: skip
    learning_rate = pytensor.shared(np.float32(plan.learning_rate), name="learning_rate")

    def optimizer(loss: Any, params: list[Any]) -> dict[Any, Any]:
        gradients = sr.clip_by_global_norm(pytensor.grad(loss, params), 5.0)
        return sr.adam(gradients, params, learning_rate)

    step = model.compile_training(optimizer, mode=mode)
    translator = sr.Translator(model, both, longest=20)
    n_steps, accuracy = plan.epochs * len(batches), []

    def each_step(k: int, _: float) -> None:
        learning_rate.set_value(np.float32(plan.learning_rate * min(1, 2 - 2 * k / n_steps)))

    def each_epoch(epoch: int, loss: float) -> None:
        accuracy.append(translator.accuracy(test[:1000]))
        print(f"  {epoch:5}  {loss:13.4f}  {100 * accuracy[-1]:28.1f} %", flush=True)

    print(f"  {len(training):,} dates, {model.n_params:,} weights, {n_steps} steps of ", end="")
    print(plan.batch_size)
    print("  epoch  training loss  accuracy, 1000 unseen dates", flush=True)
    history = sr.train(
        step, batches, epochs=plan.epochs, label="dates", each_step=each_step, each_epoch=each_epoch
    )
    if history.interrupted:
        raise KeyboardInterrupt
    return Trained(model, both, translator, accuracy)


# %% [markdown]
# ## 4. Where it looks
#
# The weights a_tj have a row for each token of the answer, and a column for each character of the
# source. 17_maps.png shows them for one unseen date in each of six formats. An orange frame is
# where year, month and day would look if they looked at themselves. 17_strip.png shows another one
# step by step.
#
# A picture of one date may be a lucky one, so we count. A regular expression for each format finds
# the positions of year, month and day in a source. Of the attention that the four digits of the
# year have, which part is on the year in the source? And so for month and day, and a mean over all
# dates of the test. If attention were spread evenly, it would be as much as the part has of the
# length.
#
# *What to notice.* The digits of the year have 0.72 of their attention on the year, where an even
# spread would be 0.30. Those of the month have 0.88 (0.27), those of the day 0.89 (0.14). What is
# missing is not spread over the rest: with the position to the left of it, it is 0.99, 0.95 and
# 0.97. That position is no neighbour by chance. The encoder reads from the end, so m_j knows what
# stands at j and to the right of it, and nothing of what is on the left. The space before 1942 is
# the first position at which the whole year has been read. The map of 12/1/98 shows it best.
# Whether the year begins with 19 or 20 is not written there at all: it follows from 98, and the net
# looks at the slash before it. So a weight is not on a character, but on what the encoder knew
# there. In 17_strip.png the 0 of the day 06 is written looking at the space before the 6, where it
# is known that the day has one digit. For the hyphens it looks here and there: they need nothing.

PARTS = {"year": slice(0, 4), "month": slice(5, 7), "day": slice(8, 10)}  # in 1994-09-27
NAMES = {"year": ("yyyy", "yy"), "month": ("m", "mm", "mon", "month"), "day": ("d", "dd")}
DIGITS = {
    "yyyy": r"\d{4}", "yy": r"\d\d", "mm": r"\d\d", "m": r"\d\d?", "dd": r"\d\d", "d": r"\d\d?",
    "th": "[a-z]{2}",
}  # fmt: skip
Spans = dict[str, tuple[int, int]]


# %%
def pattern(template: str) -> "re.Pattern[str]":
    """Return a regular expression for the dates in a format; its groups are named as in there."""

    def group(found: "re.Match[str]") -> str:
        name = found[1]
        cases = {name.lower(): "[a-z]+", name.upper(): "[A-Z]+", name.title(): "[A-Z][a-z]+"}
        return f"(?P<{name}>{DIGITS.get(name, cases[name])})"

    return re.compile(re.sub(r"\{(\w+)\}", group, template.replace(".", r"\.")))


PATTERNS = [pattern(template) for template in FORMATS]


def positions(source: str) -> tuple[int, Spans]:
    """Return which format a date is written in, and where its year, month and day are."""
    ((k, match),) = ((k, m) for k, p in enumerate(PATTERNS) if (m := p.fullmatch(source)))
    spans = {name.lower(): match.span(name) for name in match.groupdict()}
    found = {
        part: next(spans[name] for name in names if name in spans) for part, names in NAMES.items()
    }
    return k, found


def shares(answers: list[Answer], test: Pairs) -> Array:
    """Return shares of attention, (formats and all together, parts, kinds); NaN if there is none.

    Kinds: at its own position, there or one to the left, and if attention were spread evenly.
    """
    total, counts = np.zeros((len(FORMATS), 3, 3)), np.zeros((len(FORMATS), 1, 1))
    for answer, (source, target) in zip(answers, test, strict=True):
        if len(answer.text) != len(target):  # the answer has no year, month and day
            continue
        k, spans = positions(source)
        counts[k] += 1
        for row, (part, (start, end)) in enumerate(spans.items()):
            a = answer.weights[PARTS[part]]
            total[k, row, 0] += a[:, start:end].sum(axis=1).mean()
            total[k, row, 1] += a[:, max(start - 1, 0) : end].sum(axis=1).mean()
            total[k, row, 2] += (end - start) / len(source)
    with np.errstate(invalid="ignore"):
        return np.concatenate([total, total.sum(axis=0, keepdims=True)]) / np.concatenate(
            [counts, counts.sum(axis=0, keepdims=True)]
        )


def print_shares(found: Array) -> None:
    """Print the table."""
    print(f"  {'':32}{'at its own position':^21}{'or one to the left':^21}{'spread evenly':^21}")
    print(f"  {'format':<32}" + 3 * f"{'year':>7}{'month':>7}{'day':>7}")
    for template, table in zip([*FORMATS, "all"], found, strict=True):
        if np.isnan(table).all():
            continue  # no answer in this format has the form of a date
        print(f"  {template:<32}" + "".join(f"{share:7.2f}" for share in table.T.ravel()))


SHOWN = (0, 5, 9, 10, 13, 14)


def draw_maps(answers: list[Answer], test: Pairs) -> Any:
    """Return a figure of the weights of one right answer in each of six formats."""
    figure, axes = plt.subplots(2, 3, figsize=(13, 7.4), layout="constrained")
    rows = [(*positions(source), answer) for answer, (source, _) in zip(answers, test, strict=True)]
    right = [a.text == t for a, (_, t) in zip(answers, test, strict=True)]
    for ax, k in zip(axes.flat, SHOWN, strict=True):
        candidates = [(not ok, i) for i, ok in enumerate(right) if rows[i][0] == k]
        if not candidates:
            ax.set_axis_off()
            continue
        _, spans, answer = rows[min(candidates)[1]]  # the first that is right, else the first
        plots.attention_map(answer.weights, answer.source, answer.tokens, ax=ax, colorbar=False)
        for part, (start, end) in spans.items():
            if len(answer.tokens) < PARTS[part].stop:  # too short an answer, before training
                continue
            y, height = PARTS[part].start, PARTS[part].stop - PARTS[part].start
            corner = start - 0.5, y - 0.5
            ax.add_patch(
                plt.Rectangle(
                    corner, end - start, height, fill=False, edgecolor=ORANGE, lw=2, clip_on=False,
                    zorder=3,
                )
            )  # fmt: skip
        ax.set(xlabel="", ylabel="")
    figure.supylabel("what is written, from the top")
    figure.supxlabel("what is read; blue: attention; orange: where year, month and day are")
    return figure


# %% [markdown]
# ## 5. Does it need what it looks at?
#
# A picture of weights is no proof that they matter: the decoder starts in the encoder's last state,
# and might know the date from there. (Jain and Wallace, 2019, found nets in which quite other
# weights gave nearly the same answers.) But here we can take something away. The mask says which
# positions are valid. The encoder gets the right one, and reads all. Then attention is told that
# the positions of the month, and the one to the left of it, are not. So the decoder begins in the
# same state as before, and only cannot look at the month.
#
# *What to notice.* The line "nothing" is the net as it is. Without the year, one year in a hundred
# is right, and nearly all months and days still are. Without the month one month in twelve is
# right, and without the day one day in 31: what guessing gives. So this net has not stored the date
# in the state between encoder and decoder. It could have (a net without attention must, lesson 16),
# but it was easier to learn to look. (Why do 4 % of the years go with the month? In 20850817 the
# position to the left of the month is the last digit of the year.)


# %%
def answers_in_part_hidden(trained: Trained, test: Pairs) -> Array:
    """Return which share of years, months, days is right, (hidden: none, ..., parts)."""
    encoder, step = trained.translator.encoder, trained.translator.step
    both = trained.vocabularies
    source, mask = text.padded(both.encode(test)[0])
    memory, valid, *first = encoder(source, mask)
    spans = [positions(s)[1] for s, _ in test]
    found = []
    for hidden in (None, *PARTS):
        seen, states, tokens = valid.copy(), first, [np.full(len(test), trained.model.start)]
        for sample, span in enumerate(spans):
            if hidden:
                start, end = span[hidden]
                seen[max(start - 1, 0) : end, sample] = False
        for _ in range(10):
            log_p, _, *states = step(tokens[-1], memory, seen, *states)
            tokens.append(log_p.argmax(axis=1))
        answers = [both.answer(column) for column in np.array(tokens[1:]).T]
        found.append(
            [np.mean([a[p] == t[p] for a, (_, t) in zip(answers, test, strict=True)])
             for p in PARTS.values()]
        )  # fmt: skip
    return np.array(found)


# %% [markdown]
# ## 6. When it is wrong, and when it is not sure
#
# Up to here the net took at each step the most probable token (greedy). But an answer as a whole
# has a probability, the product of those of its tokens, and a net that is not sure gives some to
# several answers. There are two ways to hear them.
#
# *Beam search* keeps not one beginning but some, here twelve. At each step every one of them is
# continued with every token, and the twelve most probable are kept; what ends with <eos> is put
# aside. It returns the n best answers, with log p. *Drawing* takes each token by chance, with the
# probability that it has. So in the long run an answer is drawn as often as it is probable, which
# is another way to the same number: the last two columns of the table agree.
#
# "JU 5, 2003" is no date in any of the formats. It was made by leaving out what tells June from
# July.
#
# *What to notice.* For the date of the test one answer has nearly all the probability. For the
# unclear one it is shared among January, June, July and August. Which of them leads, and by how
# much, changes with the seed, and even with how the processor has rounded. So beam search and
# drawing show a doubt that the greedy answer hides. The probability of that one answer shows it
# too: the wrong one in the test is among the 100 of 5,000 that are least probable.
#
# ## Try it
#
# - `--seed 2`, `--seed 3`: other dates and other weights. Does it look at the same places?
# - In `train_on` leave out `reverse=True`. An encoder that reads from the front knows all of a year
#   only at its last digit, or after it. Then 0.98 of the attention of its digits is on the year,
#   and 4,988 dates are right. And where does it look for the month?
# - `context_to="input"`: the same task with attention in the loop (compiles anew). What does a step
#   cost?
# - `main()["trained"].translator.translate(["31.4.2001"])`: does it know that April has 30 days?


# %%
def wrong_answers(answers: list[Answer], test: Pairs) -> list[tuple[str, str, str, float]]:
    """Print where answers are wrong, and how sure the net was; return the wrong ones."""
    p = np.exp([answer.log_p for answer in answers])
    wrong = np.array([a.text != t for a, (_, t) in zip(answers, test, strict=True)])
    print(f"  {wrong.sum()} of {len(test)} are wrong; by format:")
    counts = Counter(FORMATS[positions(test[k][0])[0]] for k in np.flatnonzero(wrong))
    for template, n in counts.most_common(4):
        print(f"    {n:4}  {template}")
    unsure = np.argsort(p)[: max(1, len(test) // 50)]
    print(f"  of the {len(unsure)} answers that are least probable {wrong[unsure].sum()} are wrong")
    print(f"  median probability of all answers: {np.median(p):.4f}")
    found = [(*test[k], answers[k].text, float(p[k])) for k in np.flatnonzero(wrong)]
    for source, target, said, how_sure in found[:5]:
        print(f"    {source:<28} is {target}, but it says {said or 'nothing'}, p = {how_sure:.2f}")
    return found


UNCLEAR = "JU 5, 2003"


def best_and_drawn(translator: sr.Translator, source: str, rng: Any, n: int) -> list[Any]:
    """Print and return the best answers of a beam search, and how often each one is drawn."""
    best = translator.beam_search(source, width=12, n_best=4)
    drawn = Counter(answer.text for answer in translator.translate(n * [source], rng=rng))
    print(f"  {source!r}: answer, log p, p, share of {n} drawn answers")
    table = [(b.text, b.log_p, float(np.exp(b.log_p)), drawn[b.text] / n) for b in best]
    for said, log_p, p, share in table:
        print(f"    {said or '(nothing)':<12} {log_p:9.4f} {p:8.4f} {share:8.3f}")
    return table


# %%
@pytensor.config.change_flags(floatX="float32")
def main(
    mode: str | None = None,
    seed: int = 1,
    epochs: int | None = None,
    full: bool = False,
    figures: str = "figures",
    quick: bool = False,
) -> dict[str, Any]:
    """Run the lesson; return what its parts found."""
    if full and quick:
        raise _lesson.OptionError("--full and --quick cannot be had together: choose one")
    plan = PLANS["full" if full else "quick" if quick else "default"]
    if epochs is not None:
        _lesson.positive_option("--epochs", epochs)
        plan = plan._replace(epochs=epochs)
    folder = _lesson.figure_folder(figures, quick)
    rng = np.random.default_rng(seed)

    print("1. A mean whose weights are computed")
    example = three_positions()
    scores = four_scores(seed)

    print("\n2. After the decoder, or in it")
    differences = two_ways(seed)

    print("\n3. Dates", flush=True)
    training, test = dates(plan.n_train, plan.n_test, rng=rng)
    for source, target in training[:6]:
        print(f"  {source:<31} {target}")
    trained = train_on(training, test, plan, rng, mode)
    answers = trained.translator.translate([source for source, _ in test])
    n_right = sum(a.text == target for a, (_, target) in zip(answers, test, strict=True))
    print(f"  of all {len(test):,} dates of the test {n_right:,} are right: ", end="")
    print(f"{100 * n_right / len(test):.2f} %")

    print("\n4. Where it looks", flush=True)
    share = shares(answers, test)
    print_shares(share)
    _lesson.save_figure(draw_maps(answers, test), folder, "17_maps")
    strip = next((a for a in answers if a.source[0] == "w"), answers[0])  # wednesday, ...
    plots.attention_strip(strip.weights, strip.source, strip.tokens)
    _lesson.save_figure(plt.gcf(), folder, "17_strip")

    print("\n5. Does it need what it looks at?")
    hidden = answers_in_part_hidden(trained, test[:1000])
    print("  hidden       year right  month right  day right")
    for name, row in zip(("nothing", *PARTS), hidden, strict=True):
        print(f"  {name:<10}" + "".join(f"{100 * value:11.1f} %" for value in row))

    print("\n6. When it is wrong, and when it is not sure")
    wrong = wrong_answers(answers, test)
    n_drawn = 100 if quick else 1000
    sources = (test[0][0], UNCLEAR)
    best = {s: best_and_drawn(trained.translator, s, rng, n_drawn) for s in sources}
    _lesson.show_figures()
    return {
        "example": example, "scores": scores, "differences": differences, "trained": trained,
        "test": test, "answers": answers, "accuracy": n_right / len(test), "shares": share,
        "hidden": hidden, "wrong": wrong, "best": best,
    }  # fmt: skip


if __name__ == "__main__":
    _lesson.run(
        main,
        help={
            "seed": "of the weights and the dates",
            "epochs": "how often the net sees the dates (default: 4; with --full, 3)",
            "full": "45,000 dates and 256 units: some minutes",
            "figures": "folder for the figures",
            "quick": "few dates, seen once, and no compilation: too little to learn anything",
        },
    )
