"""Lesson 20: variational autoencoders - a plane in which images and sentences lie

What you learn
    How to draw a random number so that the draw has a gradient; the bound (ELBO, evidence lower
    bound) that a variational autoencoder is trained by, in NumPy and as a graph; what KL annealing
    does. To look at a latent plane: latent are the variables that nobody has seen, which the net
    makes up to describe what it has. The same for sentences, where the decoder may do without them:
    when it does, and what brings it to listen.

What you should see
    Four numbered parts, and three figures: 20_training.png, 20_plane.png and 20_sentences.png.
    Images of bars arrange themselves in a plane, by place and height. A sentence decoder
    that sees every word before the next one ignores the latent variables; one from which words are
    hidden does not.

How long it takes (measured on two cores)
    Little more than a minute; nothing is compiled, so the first time is no longer. With --quick
    some 5 seconds.

What you need to know
    Lesson 2 has losses and gradients, lesson 13 language models; Gaussians and expectations.

The file is a script and a notebook: editors that know `# %%` cells open it as one. There, run the
cells from the top; the last one runs the whole lesson.
"""

# %%
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy: small products, one thread

from typing import Any, NamedTuple

import _lesson
import matplotlib.pyplot as plt
import numpy as np
import pytensor
import pytensor.tensor as pt
from matplotlib.colors import ListedColormap

import symrnn as sr
from symrnn import plots
from symrnn.models.decoder import SequenceGenerator
from symrnn.tasks.bars import bars, best_log_likelihood
from symrnn.tasks.dialogues import REPLIES
from symrnn.text import DialogueVocabulary, padded
from symrnn.training.schedules import advance, linear_to_zero, step_counter, warm_up

BLUE, ORANGE, GREY = "#2b6cb0", "#c2570c", "#555555"
Array = np.ndarray[Any, Any]

# %% [markdown]
# ## 1. A draw that has a gradient
#
# An autoencoder writes x into a few numbers z, and reads x from them again. A *variational* one
# (Kingma and Welling, 2014) writes a Gaussian, q(z | x) = N(m, s), and reads from a draw of it. So
# what lies near z must be read as nearly the same, and the space of z gets an order; and one can
# draw z from N(0, I) and read something new.
#
# A draw seems to be the end of the gradient: what is the derivative of a random number? The trick
# is to draw epsilon from N(0, 1), which depends on nothing, and to compute (reparameterise)
#
#     z = m + sqrt(s) epsilon
#
# Now z is a function of m and s. Below for f(z) = z^2, of which the mean is known, m^2 + s: its
# derivatives are 2 m with respect to m, and 1 with respect to s. The graph's gradients are averaged
# over many draws.


# %%
@pytensor.config.change_flags(floatX="float64")
def gradient_of_draws(seed: int, n_draws: int) -> dict[str, tuple[float, float, float]]:
    """Return for m and s: the graph's mean gradient, its standard error, the true one."""
    m, s, epsilon = pt.dscalar("m"), pt.dscalar("s"), pt.dscalar("epsilon")
    z = m + pt.sqrt(s) * epsilon
    gradients = sr.function([m, s, epsilon], pytensor.grad(z**2, [m, s]))
    rng, found = np.random.default_rng(seed), {}
    draws = np.array([gradients(0.7, 0.5, e) for e in rng.normal(size=n_draws)])
    for name, column, true in zip(("m", "s"), draws.T, (2 * 0.7, 1.0), strict=True):
        error = column.std() / np.sqrt(n_draws)
        print(f"  with respect to {name}: {column.mean():.3f} +- {error:.3f}, and truly {true:.3f}")
        found[name] = column.mean(), error, true
    return found


# %% [markdown]
# ## 2. The bound, in NumPy and as a graph
#
# What is wanted is a high probability of the data, p(x): the mean of p(x | z) over all z ~ N(0, I).
# It cannot be computed, since nearly all z have nothing to do with x. But q tells which z have, and
#
#     log p(x)  >=  ELBO  =  E_q[log p(x | z)] - KL(q(z | x) || N(0, I))
#
# The first term asks that x can be read from z, the second that q says little. It is a known sum,
# with k for each latent number:
#
#     KL = sum_k (m_k^2 + s_k - 1 - log s_k) / 2
#
# The first is estimated with a single draw for each sample, since there are many samples. The net
# says the logarithm of s, which may be any number. Here are both in NumPy, for black and white
# pixels; then the library's graph of the same weights, with the same epsilon.


# %%
def bound_in_numpy(w: dict[str, Array], x: Array, epsilon: Array) -> tuple[float, float]:
    """Return mean log p(x | z) and mean KL of images x, ``(batch, pixels)``."""
    h = np.tanh(x @ w["encoder.hidden.W"] + w["encoder.hidden.b"])
    m = h @ w["encoder.mean.W"] + w["encoder.mean.b"]
    log_s = h @ w["encoder.log_variance.W"] + w["encoder.log_variance.b"]
    z = m + np.exp(log_s / 2) * epsilon
    h = np.tanh(z @ w["decoder.hidden.W"] + w["decoder.hidden.b"])
    p = 1 / (1 + np.exp(-(h @ w["decoder.output.W"] + w["decoder.output.b"])))
    log_p = (x * np.log(p) + (1 - x) * np.log(1 - p)).sum(axis=1)
    kl = (m**2 + np.exp(log_s) - 1 - log_s).sum(axis=1) / 2
    return log_p.mean(), kl.mean()


@pytensor.config.change_flags(floatX="float64")
def two_bounds(seed: int) -> dict[str, tuple[float, float]]:
    """Compare the bound by hand with the library's, before training."""
    rng = np.random.default_rng(seed)
    x, epsilon = bars(5, rng=rng).images.reshape(5, -1), rng.normal(size=(5, 2))
    model = sr.VAE(x.shape[1], 16, 2, rng=rng)
    graph = sr.function([], [*model.terms(x, epsilon=epsilon)])()
    by_hand = bound_in_numpy({w.name: w.get_value() for w in model.params}, x, epsilon)
    np.testing.assert_allclose(graph, by_hand, rtol=1e-12)
    for name, (log_p, kl) in (("by hand", by_hand), ("graph", graph)):
        print(f"  {name:<8} log p(x | z) {log_p:10.6f}   KL {kl:.6f}   ELBO {log_p - kl:10.6f}")
    return {"by hand": by_hand, "graph": tuple(map(float, graph))}


# %% [markdown]
# ## 3. A plane of bars
#
# The images have 8 x 8 pixels and a bar that stands on the lower edge: its place and its height say
# all. There are 48 images, each equally likely, so no model can give them a mean log p(x) above
# -log 48. The net gets two latent numbers, and is not told what place and height are.
#
# *KL annealing* (Bowman et al., 2016) multiplies KL by a weight w that grows from 0 to 1, here over
# the first half of the training. At w = 0 the net is a plain autoencoder. In the library w is a
# graph of the step counter, like a learning rate: `kl_weight=warm_up(t, 1.0, n)`.


# %%
class Plan(NamedTuple):
    """How much of everything."""

    n_draws: int  # part 1
    image_steps: int
    sentence_steps: int
    n_hidden: int
    grid: int


PLANS = {"quick": Plan(100, 60, 40, 16, 4), "default": Plan(4_000, 2_000, 700, 48, 13)}


class Trained(NamedTuple):
    """A model, and for each step loss, log p(x | z) and KL."""

    model: Any
    terms: Array


def train_vae(
    model: Any, batches: Any, n_steps: int, *, learning_rate: float, anneal: bool, mode: Any
) -> Trained:
    """Train with Adam, whose learning rate falls to 0 in the second half."""
    t = step_counter()

    def optimizer(loss: Any, params: list[Any]) -> dict[Any, Any]:
        clipped = sr.clip_by_global_norm(pytensor.grad(loss, params), 20.0)
        falling = linear_to_zero(t, learning_rate, n_steps=n_steps, n_last=n_steps // 2)
        return sr.adam(clipped, params, falling) | advance(t)

    w = warm_up(t, 1.0, n_steps=n_steps // 2) if anneal else 1.0
    step = model.compile_training(optimizer, mode=mode, kl_weight=w)
    terms: list[list[float]] = []

    def noted(*batch: Array) -> float:
        terms.append([float(term) for term in step(*batch)])
        return terms[-1][0]

    if sr.train(noted, batches, steps=n_steps, label="bound").interrupted:
        raise KeyboardInterrupt
    return Trained(model, np.array(terms))


def flat(images: Array) -> Array:
    """Return images as rows of pixels, in the dtype of the weights."""
    return images.reshape(len(images), -1).astype(pytensor.config.floatX)


def plane_of_bars(plan: Plan, seed: int, mode: Any, names: list[str]) -> dict[str, Trained]:
    """Train with and without annealing; print the bound on all images."""
    found, best = {}, best_log_likelihood()
    print("  training           log p(x | z)      KL    ELBO   (the best possible log p(x) is "
          f"{best:.2f})")  # fmt: skip
    for name in names:
        rng = np.random.default_rng(seed)
        data = np.random.default_rng(seed + 1)
        model = sr.VAE(64, plan.n_hidden, 2, rng=rng)

        def batches(data: Any = data) -> Any:
            return ((flat(bars(100, rng=data).images),) for _ in range(100))

        anneal = name == "annealed"
        found[name] = train_vae(
            model, batches, plan.image_steps, learning_rate=0.01, anneal=anneal, mode=mode
        )
        elbo, log_p, kl = model.compile_elbo(mode=mode)(flat(bars(4_800, rng=data).images))
        print(f"  {name:<18} {log_p:12.2f}  {kl:6.2f}  {elbo:6.2f}", flush=True)
        assert elbo <= best + 0.05  # up to the error of one draw for each sample
    return found


def draw_training(runs: dict[str, Trained]) -> Any:
    """Both terms while training, as means of 20 steps."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained", sharex=True)
    for name, run in runs.items():
        colour = ORANGE if name == "annealed" else GREY
        n = len(run.terms) // 20 * 20
        means = run.terms[:n].reshape(-1, 20, 3).mean(axis=1)
        steps = 20 * np.arange(len(means)) + 10
        for ax, column, title in zip(axes, (1, 2), ("log p(x | z)", "KL"), strict=True):
            ax.plot(steps, means[:, column], color=colour, label=name)
            ax.set(xlabel="step", ylabel=f"{title}, nats")
            ax.grid(alpha=0.3)
    axes[0].set_ylim(max(-25, axes[0].get_ylim()[0]), 0)
    axes[1].legend(frameon=False)
    return figure


def draw_plane(model: sr.VAE, plan: Plan, seed: int, mode: Any) -> tuple[Any, Array]:
    """The plane of bars, and where each image lies in it."""
    images, place, height = bars(1_000, rng=np.random.default_rng(seed))
    mean, log_variance = model.compile_encoder(mode=mode)(flat(images))
    noise = np.random.default_rng(seed).normal(size=mean.shape)
    z = mean + np.exp(log_variance / 2) * noise
    g = plots.latent_grid(plan.grid)
    points = np.stack(np.meshgrid(g, g), axis=-1).reshape(-1, 2).astype(mean.dtype)
    decoded = model.compile_decoder(mode=mode)(points).reshape(plan.grid, plan.grid, 8, 8)
    figure, axes = plt.subplots(1, 3, figsize=(16, 4.8), layout="constrained")
    plots.latent_plane(z, place, decoded, label="place", axes=[axes[0], axes[2]])
    plots.latent_plane(z, height, decoded, label="height", axes=[axes[1], axes[2]])
    axes[2].set_title("what is read from each point")
    return figure, z


# %% [markdown]
# *What to notice.* Both trainings end at about the same bound, -5.21 and -5.26, which is 1.3 nats
# below the best possible: q is a Gaussian, and 48 of them do not fill a plane without gaps and
# overlaps. So here annealing is no help, and no harm. 20_training.png shows what it does: at first
# z is for nothing, and KL goes up to 35 nats; then the net learns to say the same in fewer.
#
# In 20_plane.png each point is an image that was drawn to its q, coloured by its place on the left,
# by its height in the middle. Nobody told the net what place and height are. It has put the six
# places into six sectors, and the height grows outwards: low bars, which differ in few pixels, lie
# close together. On the right is what is read from each point. A net of another seed makes another
# plane, turned or bent: N(0, I) looks the same from all sides, so nothing makes place one axis and
# height the other.
#
# ## 4. Sentences, and a decoder that does not listen
#
# For sequences (Bowman et al., 2016) the encoder is a recurrent net whose last state says q(z | x),
# and the decoder a language model that is given z: as its first state, and again at each step.
#
#     q(z | x) = N(m, s)   of the last h of encoder(x_1 ... x_T)
#     h_0 = tanh(z W_0 + b_0),   h_t = cell([E[x_{t-1}], z], h_{t-1})
#
# There are 18 sentences, such as "the dog barks ." and "a plum is blue .". A language model without
# any z can reach the best possible log p(x), -log 18, by itself: after "the dog" only "barks" can
# come. Then KL = 0 costs nothing, and any use of z would only cost. So z dies (posterior collapse),
# although the bound is as good as it can be: the bound does not ask for a useful z.
#
# Two things help. KL annealing, as above: at the beginning z is for nothing. And *word dropout*: in
# training the decoder is not shown a part of the words before the next one. If it does not know
# what has been said, it has to listen. "Rebuilt" is the share of sentences that come out
# right when the mean of q(z | x) is decoded, each word being drawn; by chance it is one in 18.


# %%
SENTENCES = [sentence for replies in REPLIES.values() for sentence in replies]
SETTINGS = {
    "plain": (0.0, False),
    "annealed": (0.0, True),
    "word dropout": (0.75, False),
    "both": (0.75, True),
}


def encoded_sentences(words: DialogueVocabulary) -> tuple[Array, Array]:
    """Return tokens and mask of all sentences, ``(time, 18)``, each with its end."""
    return padded([np.append(ids, words.eos) for ids in words.encode([SENTENCES])[0]])


def planes_of_sentences(plan: Plan, seed: int, mode: Any, names: list[str]) -> dict[str, Any]:
    """Train in each setting; print the bound and what is rebuilt."""
    words = DialogueVocabulary.build([SENTENCES])
    tokens, mask = encoded_sentences(words)
    batch = np.tile(tokens, 3), np.tile(mask, 3)  # each sentence three times, with z of its own
    print("  training      log p(x | z)      KL    ELBO   rebuilt   (the best possible log p(x) is "
          f"{-np.log(18):.2f})", flush=True)  # fmt: skip
    found = {}
    for name in names:
        drop, anneal = SETTINGS[name]
        rng = np.random.default_rng(seed)
        model = sr.SequenceVAE(len(words), 8, plan.n_hidden, 2, rng=rng, word_dropout=drop)
        train_vae(model, [batch], plan.sentence_steps, learning_rate=0.01, anneal=anneal, mode=mode)
        many = np.tile(tokens, 50), np.tile(mask, 50)
        elbo, log_p, kl = model.compile_elbo(mode=mode)(*many)
        generator = SequenceGenerator(model.decoder, eos=words.eos, longest=8, mode=mode)
        mean, _ = model.compile_encoder(mode=mode)(tokens, mask)
        rng = np.random.default_rng(seed)
        drawn = generator.generate(np.repeat(mean, 20, axis=0), rng=rng)
        said = [words.text(ids) for ids in drawn]
        right = [words.text(ids) for ids in np.repeat(tokens, 20, axis=1).T]
        rebuilt = np.mean([a == b for a, b in zip(said, right, strict=True)])
        print(f"  {name:<13} {log_p:12.2f}  {kl:6.2f}  {elbo:6.2f} {rebuilt:9.2f}", flush=True)
        numbers = [float(elbo), float(log_p), float(kl), float(rebuilt)]
        found[name] = {"numbers": numbers, "generator": generator, "words": words}
    return found


def draw_sentences(run: dict[str, Any], n: int) -> Any:
    """Which sentence is decoded at each point of the plane."""
    g = plots.latent_grid(n, extent=3.0)
    points = np.stack(np.meshgrid(g, g), axis=-1).reshape(-1, 2)
    words = run["words"]
    said = [words.text(ids) for ids in run["generator"].generate(points)]
    known = [words.text(ids) for ids in encoded_sentences(words)[0].T]
    number = np.array([known.index(text) if text in known else -1 for text in said])
    shades = [c for name in ("Blues", "Oranges", "Greens") for c in plt.get_cmap(name)(
        np.linspace(0.15, 0.5, 6))]  # fmt: skip
    figure, ax = plt.subplots(figsize=(8.5, 8), layout="constrained")
    colours = ListedColormap([(1, 1, 1, 1), *shades])
    edge = 3.0 * (1 + 1 / (n - 1))
    ax.imshow(
        number.reshape(n, n) + 1, cmap=colours, vmin=-0.5, vmax=18.5, origin="lower",
        extent=(-edge, edge, -edge, edge),
    )  # fmt: skip
    for k in np.unique(number[number >= 0]):
        here = points[number == k]
        middle = here[np.argmin(((here - here.mean(axis=0)) ** 2).sum(axis=1))]
        text = known[k].rstrip(".").replace(" ", "\n")
        ax.text(*middle, text, ha="center", va="center", fontsize=8, linespacing=1.1)
    ax.set(xlabel="$z_1$", ylabel="$z_2$", xlim=(-edge, edge), ylim=(-edge, edge))
    ax.set_title("what is read from each point (white: none of the 18 sentences)")
    return figure


# %% [markdown]
# *What to notice.* The plain training ends at the best possible bound, -2.90, and z is dead: KL is
# 0.03, and what is read from z is as good as drawn at random, 0.04. With annealing z comes into
# use, about half of the sentences are read from it (0.53), and the bound is hardly lower, -2.93.
# With word dropout KL is as large as it must be to tell 18 sentences apart (log 18 = 2.89), and
# 0.97 are right; for this the bound is lower, -3.17. Word dropout alone does it here, with
# annealing it is 0.99. So the better bound is not the better z: who wants z to mean something
# has to see to it.
#
# 20_sentences.png shows what is read, greedily, from each point of the plane of "both". Sentences
# about one subject, which share words or their order, lie side by side.
#
# ## Try it
#
# - `VAE(64, 48, 3, rng=rng)` in `plane_of_bars`: a space instead of a plane. How far from the best
#   is the bound? (Leave out `draw_plane`, which needs a plane.)
# - `outputs="gaussian"` is for vectors of any numbers, not only from 0 to 1: draw some in a ring of
#   eight dimensions. Does the plane show the ring?
# - Draw z from N(0, I) and decode: are new bars as good as those of the data? `compile_decoder`.
# - In `SETTINGS`, a word dropout of 1.0: the decoder never sees a word.
# - `kl_weight=4.0` (a beta-VAE: Higgins et al., 2017): which of the 48 images become one?


# %%
@pytensor.config.change_flags(floatX="float32")
def main(
    mode: str | None = None, seed: int = 1, figures: str = "figures", quick: bool = False
) -> dict[str, Any]:
    """Run the lesson; return what its parts found."""
    folder = _lesson.figure_folder(figures, quick)
    plan = PLANS["quick" if quick else "default"]

    print("1. A draw that has a gradient")
    gradients = gradient_of_draws(seed, plan.n_draws)

    print("\n2. The bound, in NumPy and as a graph")
    bounds = two_bounds(seed)

    print("\n3. A plane of bars", flush=True)
    names = ["annealed"] if quick else ["plain", "annealed"]
    runs = plane_of_bars(plan, seed, mode, names)
    _lesson.save_figure(draw_training(runs), folder, "20_training")
    figure, z = draw_plane(runs["annealed"].model, plan, seed, mode)
    _lesson.save_figure(figure, folder, "20_plane")

    print("\n4. Sentences, and a decoder that does not listen", flush=True)
    names = ["both"] if quick else [*SETTINGS]
    sentences = planes_of_sentences(plan, seed, mode, names)
    _lesson.save_figure(draw_sentences(sentences["both"], 5 * plan.grid), folder, "20_sentences")
    _lesson.show_figures()
    return {"gradients": gradients, "bounds": bounds, "bars": runs, "z": z, "sentences": sentences}


if __name__ == "__main__":
    _lesson.run(
        main,
        help={
            "seed": "of the initial weights, of the data and the draws",
            "figures": "folder for the figures",
            "quick": "few steps, small nets: too little to learn anything",
        },
    )
