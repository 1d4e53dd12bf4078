"""Lesson 19: word vectors - from counting to predicting, on the same text

What you learn
    Two ways to learn from a text alone what words are like. Counting: co-occurrences, cosine,
    positive mutual information, singular value decomposition. Predicting: CBOW and skip-gram, with
    full softmax and with negative sampling, and updates that touch only a few rows. Why both find
    nearly the same, and how to measure what they have found.

What you should see
    Six numbered parts, and two figures: 19_seven_words.png and 19_maps.png; beside them
    judgements.tsv, a file of pairs of words and how alike they are, as part 4 reads it. In a text
    with planted classes and relations both ways find nearly all of them.

How long it takes (measured on two cores)
    A minute, with nothing compiled before. With --quick 7 seconds.

What you need to know
    Lesson 0 has graphs and gradients, lesson 13 the softmax over words.

The file is a script and a notebook: editors that know `# %%` cells open it as one. There, run the
cells from the top; the last one runs the whole lesson.
"""

# %%
import time
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import _lesson
import matplotlib.pyplot as plt
import numpy as np
import pytensor
import pytensor.tensor as pt

import symrnn as sr
from symrnn import plots
from symrnn.models.word2vec import gradient_descent_on_rows, take_rows
from symrnn.tasks.english_words import english_words
from symrnn.tasks.planted_words import PlantedWords
from symrnn.text import EOS, Vocabulary
from symrnn.text.alias_sampler import AliasSampler
from symrnn.text.contexts import (
    cbow_batches,
    cbow_contexts,
    keep_probabilities,
    skip_gram_batches,
)
from symrnn.text.counting import cooccurrences, cosines, ppmi, svd_vectors
from symrnn.text.word_vectors import WordVectors

Array = np.ndarray[Any, Any]

# %% [markdown]
# ## 1. Counting: seven words
#
# What is "hello" like? A text answers: like words that stand in the same places (Harris, 1954). So
# we count, for each word, what stands beside it (here one place to the left and right). A row of
# the table C is a vector for a word. Two words are alike if their vectors point into the same
# direction, whatever their lengths:
#
#     cosine(a, b) = a . b / (|a| |b|)
#
# But "the" stands beside everything, which says little. Pointwise mutual information asks how much
# more often two words meet than they would if the text were shuffled; what is below 0 becomes 0:
#
#     PPMI_ij = max(0, log(C_ij N / (C_i. C_.j)))         sums of rows and columns, and of all
#
# These vectors are as long as the vocabulary, and nearly empty. M = U S V^T, the singular value
# decomposition, turns the axes so that the first ones say most, and one keeps only these.
#
# The cell below does all this by hand, in the lines of the equations, and with the library, whose
# matrices are sparse: it goes on to work where a dense table of all words would fill 80 GB.
#
# *What to notice.* Here side by side stand only words of different halves: you, goodbye, i, hello
# and say, and, ".". This is what the first two columns of U S say, and nothing else: with them all
# cosines are 1 within a half and 0 across. Four columns say more: "i" and "goodbye" have the same
# neighbours, "you" has one of these, and "hello" shares one as well, but also has its own.

SENTENCE = "you say goodbye and i say hello ."


# %%
def seven_words(seed: int) -> dict[str, Any]:
    """Count, compare, and shorten by hand and with the library; print the tables."""
    words = SENTENCE.split()
    vocabulary = Vocabulary(dict.fromkeys(words))  # in the order of the sentence
    ids = vocabulary.encode(words)
    n = len(vocabulary)

    counts = np.zeros((n, n))
    for left, right in pairwise(ids):
        counts[left, right] += 1
        counts[right, left] += 1
    expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / counts.sum()
    m = np.log(np.maximum(counts, 1e-9) / expected).clip(min=0)
    u, s, _ = np.linalg.svd(m)

    sparse = cooccurrences(ids, n, window=1)
    np.testing.assert_array_equal(sparse.toarray(), counts)
    np.testing.assert_allclose(ppmi(sparse).toarray(), m, atol=1e-12)
    short = svd_vectors(ppmi(sparse), 4, rng=np.random.default_rng(seed), power=1)
    np.testing.assert_allclose(short @ short.T, (u[:, :4] * s[:4] ** 2) @ u[:, :4].T, atol=1e-9)

    print("  counts    " + "".join(f"{word:>9}" for word in vocabulary))
    for word, row in zip(vocabulary, counts, strict=True):
        print(f"  {word:<10}" + "".join(f"{count:9.0f}" for count in row))
    print("  cosine to 'you' of the rows of")
    you = vocabulary["you"]
    likeness = {"counts": cosines(counts), "PPMI": cosines(m), "4 columns of SVD": cosines(short)}
    for name, table in likeness.items():
        best = sorted(zip(table[you].round(2) + 0, vocabulary, strict=True), reverse=True)
        shown = ", ".join(f"{word} {c:.2f}" for c, word in best if word != "you")
        print(f"    {name:<18} {shown}")
    tables = {"counts": counts, "ppmi": m, "short": WordVectors(vocabulary.tokens, short)}
    return {"words": vocabulary.tokens, "likeness": likeness, **tables}


# %% [markdown]
# ## 2. Predicting: CBOW by hand
#
# The other way does not count, but guesses. CBOW (Mikolov et al., 2013) has a vector V_w for each
# word, takes the mean of those around a gap, and has to say which word is in it:
#
#     h = (V_a + V_b) / 2        z = h U^T        L = -log softmax(z)_t
#
# Nobody tells it that two words are alike. But who has to guess the same gaps needs like vectors.
# There are no loops and no layers, so the gradient is short enough to write by hand:
#
#     dL/dz = softmax(z) - onehot(t)      dL/dU = dL/dz^T h      dL/dV_a = dL/dV_b = dL/dz U / 2
#
# The cell below has the whole training in NumPy, and beside it the library's graph with the
# gradient that PyTensor derives. The vectors stay equal to the last digits.


# %%
def cbow_step(V: Array, U: Array, contexts: Array, targets: Array, learning_rate: float) -> float:
    """Change V and U by one step of gradient descent on a batch; return the mean loss before it."""
    valid = contexts >= 0  # -1 is no word
    n_valid = valid.sum(axis=1, keepdims=True)
    h = (V[contexts] * valid[:, :, None]).sum(axis=1) / n_valid
    e = np.exp(h @ U.T)
    p = e / e.sum(axis=1, keepdims=True)
    n = len(targets)
    loss = -np.log(p[np.arange(n), targets]).mean()
    dz = p
    dz[np.arange(n), targets] -= 1
    dz /= n
    dh = dz @ U / n_valid
    U -= learning_rate * dz.T @ h
    for k in range(contexts.shape[1]):
        np.add.at(V, contexts[:, k], -learning_rate * dh * valid[:, [k]])
    return float(loss)


@pytensor.config.change_flags(floatX="float64")
def cbow_by_hand(seed: int, steps: int) -> dict[str, Any]:
    """Train on the sentence by hand and by a graph, side by side."""
    words = SENTENCE.split()
    vocabulary = Vocabulary(dict.fromkeys(words))
    rng = np.random.default_rng(seed)
    contexts, targets = cbow_contexts(vocabulary.encode(words), window=1, rng=rng)
    model = sr.CBOW(len(vocabulary), 5, rng=rng)
    V, U = model.W_in.get_value(), model.W_out.get_value()
    step = model.compile_softmax(learning_rate=1.0)
    print("  step    loss by hand   loss of the graph")
    losses = []
    for k in range(steps):
        losses.append((cbow_step(V, U, contexts, targets, 1.0), float(step(contexts, targets))))
        if k in (0, 9, 99, steps - 1):
            print("  {:4}  {:14.6f}  {:18.6f}".format(k + 1, *losses[-1]))
    apart = max(abs(V - model.W_in.get_value()).max(), abs(U - model.W_out.get_value()).max())
    print(f"  after {steps} steps the vectors differ by at most {apart:.0e}")
    assert apart < 1e-10
    print(f"  at first ln 7 = {np.log(7):.6f}; two words stand in like gaps:", end=" ")
    like = WordVectors(vocabulary.tokens, V).nearest("you", n=1)[0]
    print(f"'you' is most like '{like[0]}', cosine {like[1]:.2f}")
    return {"losses": losses, "nearest": like}


# %% [markdown]
# ## 3. Negative sampling, and updates of rows
#
# softmax(z) needs a product with every row of U, for each gap. With 100,000 words nearly all of the
# work is for words that have nothing to do with it. Negative sampling asks something easier: is t
# the right word, or was it drawn by chance?
#
#     L = -log sigmoid(h . u_t) - sum over n of log sigmoid(-h . u_n)
#
# where n goes over k words drawn by chance.
#
# The words n are drawn with probabilities in proportion to count^0.75, which lets rare words come
# up more often. (An alias table draws one in constant time: `AliasSampler`.) Now a step needs one
# row of V and 1 + k rows of U. And so does its gradient; yet `pytensor.grad(loss, U)` is a matrix
# as large as U, full of zeros. What one does about it, in three lines (`symrnn.models.word2vec` has
# them as `take_rows` and `gradient_descent_on_rows`, which the cell below uses):
#
#     rows = U[ids]                                        a graph that goes on from these rows
#     gradient = pytensor.grad(loss, rows)                 as large as the batch
#     updates = {U: pt.inc_subtensor(U[ids], -learning_rate * gradient)}
#
# If a row is there twice, `inc_subtensor` adds twice. In mode NUMBA it works in place.
#
# *What to notice.* The time of a step of full softmax grows with the vocabulary; with negative
# sampling it does not.


# %%
@pytensor.config.change_flags(floatX="float64")
def rows_by_hand(seed: int) -> dict[str, float]:
    """Compare the gradient by hand, the dense one, and the update of rows; return differences."""
    rng = np.random.default_rng(seed)
    n, d, learning_rate = 8, 3, 0.5
    V0, U0 = rng.normal(size=(2, n, d))
    words, targets, negatives = (
        np.array([1, 4, 1]),
        np.array([2, 2, 5]),
        rng.integers(n, size=(3, 2)),
    )

    V, U = V0.copy(), U0.copy()
    for w, t, drawn in zip(words, targets, negatives, strict=True):  # each pair alone, then a mean
        h, dh = V0[w], np.zeros(d)
        for word, label in [(t, 1), *((k, 0) for k in drawn)]:
            error = 1 / (1 + np.exp(-h @ U0[word])) - label  # sigmoid(h . u) - label
            dh += error * U0[word] / 3
            U[word] -= learning_rate * error * h / 3
        V[w] -= learning_rate * dh

    found = {}
    for name in ("grad of the whole matrices", "grad of the rows, inc_subtensor"):
        W_in, W_out = pytensor.shared(V0.copy()), pytensor.shared(U0.copy())
        h, u = take_rows(W_in, words), take_rows(W_out, targets)
        wrong = take_rows(W_out, negatives)
        scores = (h.values[:, None] * wrong.values.reshape((3, 2, d))).sum(axis=2)
        right = (h.values * u.values).sum(axis=1)
        loss = (pt.softplus(-right) + pt.softplus(scores).sum(axis=1)).mean()
        if "rows" in name:
            updates = gradient_descent_on_rows(loss, [h, u, wrong], learning_rate)
        else:
            updates = sr.gradient_descent(loss, [W_in, W_out], learning_rate)
        sr.function([], updates=updates)()
        found[name] = max(abs(W_in.get_value() - V).max(), abs(W_out.get_value() - U).max())
        print(f"  by hand and by {name:<32} differ by at most {found[name]:.0e}")
        assert found[name] < 1e-14
    return found


def seconds_a_step(sizes: tuple[int, ...], rng: Any, mode: Any) -> dict[int, tuple[float, float]]:
    """Measure a step with full softmax and with negative sampling, by size of the vocabulary."""
    found = {}
    print("  words      ms a step, 128 pairs: softmax   negative sampling, k = 5")
    for n in sizes:
        model = sr.SkipGram(n, 64, rng=rng)
        pair = rng.integers(n, size=(2, 128))
        negatives = AliasSampler(np.ones(n)).draw((128, 5), rng=rng)
        softmax = model.compile_softmax(1.0, mode=mode)
        sampling = model.compile_negative_sampling(1.0, mode=mode)
        times = []
        for step, batch in ((softmax, pair), (sampling, (*pair, negatives))):
            step(*batch)
            timed = []
            for _ in range(7):
                start = time.perf_counter()
                step(*batch)
                timed.append(time.perf_counter() - start)
            times.append(float(np.median(timed)))
        found[n] = times[0], times[1]
        print(f"  {n:<9,}  {1e3 * times[0]:29.2f}   {1e3 * times[1]:18.2f}", flush=True)
    return found


# %% [markdown]
# ## 4. A text whose secret is known
#
# Who learns from Wikipedia cannot know what there is to find. So the text is made up
# (`symrnn.tasks.english_words`): 142 words in twelve classes stand in the sentences of their class.
# Six classes make three relations: each country has its capital, and both stand near the same signs
# ("french", "seine"). Whoever finds the classes has like words as neighbours. Whoever finds the
# relations solves analogies with a sum of vectors (Mikolov et al., 2013):
#
#     france is to paris as italy is to x:      x is nearest to   paris - france + italy
#
# Three measures then, all between 0 and 1: for how many planted words the nearest of all 414 words
# is of the same class (and how many of the three nearest); how many of the 1,008 analogies are
# solved; and the rank correlation of cosines with "human" judgements of pairs of words, from a
# file: 2 for the same class, 1 for partners such as france and paris, else 0. (More than 0.92
# cannot be had, since only three different judgements are there.)
#
# First counting: PPMI with a window of 5, whole and cut to 100 columns by SVD.
#
# *What to notice.* Whole rows of PPMI find everything that is planted. 100 columns do nearly as
# well; with 64 some 5 % of the analogies are lost (try it), though still all classes are found.

N_FEATURES, WINDOW, K = 100, 5, 5
LEARNING_RATE, BATCH, EPOCHS = 256 * 0.05, 256, 5  # of a batch's mean: 0.05 for each pair


class Text(NamedTuple):
    """The text, and what is known about it."""

    planted: PlantedWords
    vocabulary: Vocabulary
    tokens: Array
    counts: Array  # of words; <eos> is none
    judgements: Any  # a file


class Found(NamedTuple):
    """Vectors, and how much of the secret they know."""

    vectors: WordVectors
    nearest: float
    three: float
    analogies: tuple[float, ...]
    solved: float
    rho: float
    seconds: float


def make_text(n_sentences: int, rng: Any, folder: Path) -> Text:
    """Return a text; write the judgements into the folder."""
    planted = english_words()
    words = planted.sample(n_sentences, rng=rng)
    vocabulary = Vocabulary.build(words, specials=(EOS,))
    if not all(word in vocabulary for word in planted.class_of):
        raise _lesson.OptionError(
            f"--sentences is {n_sentences}, so few that a planted word never occurs: take more"
        )
    counts = vocabulary.counts.copy()
    counts[vocabulary.eos] = 0
    file = folder / "judgements.tsv"
    file.write_text(
        "".join(f"{a}\t{b}\t{s:g}\n" for a, b, s in planted.judgements(rng=rng)), "utf-8"
    )
    return Text(planted, vocabulary, vocabulary.encode(words), counts, file)


def judge(name: str, matrix: Array, text: Text, seconds: float) -> Found:
    """Measure what vectors have found, and print a line of the table."""
    vectors = WordVectors(text.vocabulary.tokens[1:], matrix[1:])  # without <eos>
    class_of = text.planted.class_of
    words = [word for word in class_of if word in vectors]
    same = np.array(
        [[class_of.get(near) == class_of[w] for near, _ in vectors.nearest(w, n=3)] for w in words]
    )
    right = []
    for one, other in text.planted.relations:
        right.append(vectors.solves(PlantedWords(text.planted.classes, [(one, other)]).questions()))
    found = Found(
        vectors, float(same[:, 0].mean()), float(same.mean()),
        tuple(float(r.mean()) for r in right), float(np.concatenate(right).mean()),
        vectors.correlation(text.judgements).rho, seconds,
    )  # fmt: skip
    print(
        f"  {name:<28}{100 * found.nearest:8.1f} %{100 * found.three:8.1f} %"
        + "".join(f"{100 * part:9.1f} %" for part in (*found.analogies, found.solved))
        + f"{found.rho:7.2f}{seconds:8.1f} s",
        flush=True,
    )
    return found


HEAD = (
    f"  {'':28}same class: of analogies:\n"
    f"  {'':<30}nearest   three    capital     woman      past       all    rho    time"
)


def counting(text: Text, seed: int) -> dict[str, Found]:
    """Vectors by counting."""
    start = time.perf_counter()
    n = len(text.vocabulary)
    m = ppmi(cooccurrences(text.tokens, n, window=WINDOW, end=text.vocabulary.eos))
    whole = time.perf_counter() - start
    short = svd_vectors(m, N_FEATURES, rng=np.random.default_rng(seed), power=1)
    return {
        "PPMI": judge(f"PPMI, {n} features a word", m.toarray(), text, whole),
        "SVD": judge("its SVD, 100 features", short, text, time.perf_counter() - start),
    }


# %% [markdown]
# ## 5. Predicting, on the same text
#
# Now nothing is counted. Four nets guess: skip-gram with negative sampling (from a word each word
# near it), the same with subsampling (words that take more than 0.1 % of the text are left out at
# random, the more the more frequent they are), CBOW with negative sampling, and skip-gram with full
# softmax. They see the same windows as the counts, but at each position the window shrinks at
# random, so near words count more. The learning rate falls to 0. The vectors are the rows of V.
#
# *What to notice.* Skip-gram finds all classes and 99 % of the analogies; with subsampling it does
# so in a third of the time. Full softmax finds the last analogies too, but takes five times as
# long, and here there are only 415 words, <eos> among them. CBOW, given as many guesses, finds a
# little less: in a mean of up to ten words each has a small part. Analogies come later than
# classes: after one epoch of five skip-gram has all classes, but only a quarter of the analogies.


# %%
NETS = {
    "skip-gram": sr.SkipGram, "skip-gram, subsampling": sr.SkipGram, "CBOW": sr.CBOW,
    "skip-gram, full softmax": sr.SkipGram,
}  # fmt: skip


def predicting(
    text: Text, epochs: int, seed: int, mode: Any, quick: bool
) -> tuple[dict[str, Found], sr.SkipGram]:
    """Train the nets, print a line for each; return what they found, and the first net."""
    noise, end = AliasSampler(text.counts**0.75), text.vocabulary.eos
    found, nets = {}, []
    for name, kind in NETS.items():
        rng = np.random.default_rng(seed)
        net = kind(len(text.vocabulary), N_FEATURES, rng=rng)
        learning_rate = pytensor.shared(np.float32(LEARNING_RATE), name="learning_rate")
        softmax = "softmax" in name
        compile_step = net.compile_softmax if softmax else net.compile_negative_sampling
        step = compile_step(learning_rate, mode=mode)
        make = cbow_batches if kind is sr.CBOW else skip_gram_batches
        keep = keep_probabilities(text.counts, threshold=1e-3) if "subsampling" in name else None
        n_epochs = (
            4 * epochs if kind is sr.CBOW else epochs
        )  # it has a quarter of the guesses in one

        def batches(make: Any = make, rng: Any = rng, keep: Any = keep, own: Any = softmax) -> Any:
            for words, targets in make(
                text.tokens, window=WINDOW, batch_size=BATCH, rng=rng, end=end, keep=keep
            ):
                batch = words, targets
                yield batch if own else (*batch, noise.draw((len(targets), K), rng=rng))

        def slower(
            epoch: int, _: float, rate: Any = learning_rate, n_epochs: int = n_epochs
        ) -> None:
            rate.set_value(np.float32(LEARNING_RATE * (1 - epoch / n_epochs)))

        step(*next(iter(batches())))  # in mode NUMBA the first call compiles
        start = time.perf_counter()
        n_steps = 20 if quick else None
        history = sr.train(
            step,
            batches,
            epochs=None if quick else n_epochs,
            steps=n_steps,
            label=name,
            each_epoch=slower,
        )
        if history.interrupted:
            raise KeyboardInterrupt
        seconds = time.perf_counter() - start
        found[name] = judge(name, net.W_in.get_value(), text, seconds)
        nets.append(net)
    return found, nets[0]


# %% [markdown]
# ## 6. What predicting has in common with counting
#
# When is the loss of negative sampling as low as it can be? For a word i and a context j alone, the
# best score is the logarithm of how much more often the pair is met than drawn:
#
#     V_i . U_j = log(P(i, j) / (k P(i) P_noise(j)))  =  PMI_ij - log k
#
# So skip-gram approximates the very matrix that part 1 counts, shifted by log k, and with 100
# features a word, as SVD does (Levy and Goldberg, 2014). It weights the entries by how often they
# are met; a pair that is never met, where PMI is minus infinity, is simply pushed down.
#
# The cell below compares the net's scores for all pairs that occur at least ten times with the
# counts (of falling weight and with P_noise from count^0.75, as the net has seen them).
#
# *What to notice.* The points lie along the line, with a correlation of 0.88. Those below it on the
# right are rare pairs whose PMI is high: five epochs do not lift them that far. So it is no wonder
# that both ways find the same. They differ in what they cost: the counts and the SVD of 415 words
# take a second, but grow with all pairs that occur; skip-gram goes through the text a few times,
# and needs memory for two rows a word, however long the text is.


# %%
def scores_and_counts(net: sr.SkipGram, text: Text) -> tuple[Array, Array]:
    """Return PMI - log k, and the net's scores, for all pairs that occur at least ten times."""
    n, end = len(text.vocabulary), text.vocabulary.eos
    c = cooccurrences(text.tokens, n, window=WINDOW, end=end, falling=True).toarray()
    noise = text.counts**0.75 / (text.counts**0.75).sum()
    i, j = np.nonzero(c >= 10)
    pmi = np.log(c[i, j] / (c.sum(axis=1)[i] * noise[j]))
    V, U = (w.get_value() for w in net.params)
    scores = (V[i] * U[j]).sum(axis=1)
    r = float(np.corrcoef(pmi - np.log(K), scores)[0, 1])
    apart = float(np.abs(scores - pmi + np.log(K)).mean())
    print(f"  {len(i):,} pairs: correlation {r:.3f}, mean difference {apart:.2f}")
    return pmi - np.log(K), scores


def side_by_side(found: dict[str, Found]) -> None:
    """Print neighbours and answers of both ways."""
    for word in ("dog", "france", "queen", "sang"):
        print(f"  nearest to {word}:")
        for name in SHOWN:
            near = ", ".join(f"{w} {c:.2f}" for w, c in found[name].vectors.nearest(word, n=5))
            print(f"    {name:<12}{near}")
    for a, b, c in (
        ("france", "paris", "italy"),
        ("king", "queen", "uncle"),
        ("eat", "ate", "buy"),
    ):
        answers = (f"{name}: {found[name].vectors.analogy(a, b, c, n=1)[0][0]}" for name in SHOWN)
        print(f"  {a} is to {b} as {c} is to   " + ",  ".join(answers))


SHOWN = ("SVD", "skip-gram")


def draw_seven(found: dict[str, Any]) -> Any:
    """Draw the two tables of part 1, and the words in the plane in which short vectors differ."""
    figure, axes = plt.subplots(1, 3, figsize=(13, 4.2), layout="constrained")
    for ax, name in zip(axes, ("counts", "ppmi"), strict=False):
        drawn = ax.imshow(found[name], cmap="Blues")
        ax.set_xticks(range(7), found["words"], rotation=90)
        ax.set_yticks(range(7), found["words"])
        ax.set_title({"counts": "what stands beside what", "ppmi": "PPMI"}[name])
        figure.colorbar(drawn, ax=ax, shrink=0.8)
    plots.word_map(found["short"].plane(found["words"]), found["words"], ax=axes[2])
    axes[2].set_title("four columns of its SVD, in a plane")
    return figure


def draw_maps(found: dict[str, Found], planted: PlantedWords, scores: tuple[Array, Array]) -> Any:
    """Draw maps of both ways side by side, and the scores over the counts."""
    figure, axes = plt.subplots(
        2, 3, figsize=(17, 10), layout="constrained", width_ratios=(1, 1, 0.8)
    )
    for row, classes in zip(
        axes, (("animal", "fruit", "tool"), ("country", "capital")), strict=True
    ):
        words = [w for name in classes for w in planted.classes[name].words]
        groups = [planted.class_of[w] for w in words]
        pairs = planted.pairs("country", "capital") if "country" in classes else []
        for ax, name in zip(row, SHOWN, strict=False):
            plots.word_map(
                found[name].vectors.plane(words), words, groups=groups, pairs=pairs, ax=ax
            )
            ax.set_title({"SVD": "counting", "skip-gram": "predicting"}[name])
    ax = axes[0, 2]
    names = list(found)
    ax.barh(names, [100 * found[n].nearest for n in names], height=0.35, align="edge",
            label="nearest word of the same class")  # fmt: skip
    ax.barh(names, [100 * found[n].solved for n in names], height=-0.35, align="edge",
            label="analogies solved")  # fmt: skip
    ax.invert_yaxis()
    ax.set(xlabel="%", xlim=(0, 100))
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, 1.16), reverse=True)  # as the bars
    ax = axes[1, 2]
    ax.plot(*scores, ".", ms=2)
    ends = [float(np.min(scores[0])), float(np.max(scores[0]))]
    ax.plot(ends, ends, color="black", lw=0.8, label="equal")
    ax.legend(loc="upper left", frameon=False)
    ax.set(xlabel="counted: PMI - log k", ylabel="predicted: V . U")
    return figure


# %% [markdown]
# ## Try it
#
# - `--sentences 5000`: which way needs less text?
# - In `counting`, `power=0.5` or 0, or other numbers of columns: what happens to neighbours, what
#   to analogies?
# - In a notebook, `main()["found"]["skip-gram"].vectors.save("vectors.txt")` writes a file that
#   gensim reads, and `WordVectors.load` reads vectors of others, whatever their language. How many
#   analogies of word2vec's questions-words.txt do they solve? `read_analogies` reads it, `known`
#   leaves out questions with words that have no vector.


# %%
@pytensor.config.change_flags(floatX="float32")
def main(
    mode: str | None = None,
    seed: int = 1,
    sentences: int | None = None,
    epochs: int | None = None,
    figures: str = "figures",
    quick: bool = False,
) -> dict[str, Any]:
    """Run the lesson; return what its parts found."""
    n_sentences = sentences if sentences is not None else 3000 if quick else 20_000
    n_epochs = epochs if epochs is not None else EPOCHS
    _lesson.positive_option("--sentences", n_sentences)
    _lesson.positive_option("--epochs", n_epochs)
    folder = _lesson.figure_folder(figures, quick)
    rng = np.random.default_rng(seed)
    text = make_text(n_sentences, rng, folder)

    print("1. Counting: seven words")
    seven = seven_words(seed)
    _lesson.save_figure(draw_seven(seven), folder, "19_seven_words")

    print("\n2. Predicting: CBOW by hand", flush=True)
    by_hand = cbow_by_hand(seed, 200 if quick else 1000)

    print("\n3. Negative sampling, and updates of rows", flush=True)
    differences = rows_by_hand(seed)
    sizes = (2000,) if quick else (1000, 10_000, 100_000)
    times = seconds_a_step(sizes, rng, mode)

    print("\n4. A text whose secret is known", flush=True)
    shown = " ".join(text.vocabulary.decode(text.tokens[:60])).split(f" {EOS}")
    for sentence in shown[:5]:
        print(f"    {sentence.strip()}")
    rarest = min(text.counts[text.vocabulary[w]] for w in text.planted.class_of)
    print(f"  {len(text.tokens):,} tokens, {len(text.vocabulary)} different ones")
    print(f"  each of the {len(text.planted.class_of)} planted words occurs {rarest} times or more")
    print(HEAD)
    found = counting(text, seed)

    print("\n5. Predicting, on the same text", flush=True)
    predicted, net = predicting(text, n_epochs, seed, mode, quick)
    found |= predicted

    print("\n6. What predicting has in common with counting")
    scores = scores_and_counts(net, text)
    side_by_side(found)
    _lesson.save_figure(draw_maps(found, text.planted, scores), folder, "19_maps")
    _lesson.show_figures()
    return {
        "seven": seven, "by_hand": by_hand, "differences": differences, "times": times,
        "text": text, "found": found, "scores": scores,
    }  # fmt: skip


if __name__ == "__main__":
    _lesson.run(
        main,
        help={
            "seed": "of the text and the vectors",
            "sentences": "length of the text (default: 20000; with --quick, 3000)",
            "epochs": f"how often skip-gram sees it (default: {EPOCHS}; with --quick, 20 steps)",
            "figures": "folder for the figures",
            "quick": "a short text, few steps, and no compilation: too little to learn anything",
        },
    )
