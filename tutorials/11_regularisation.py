"""Lesson 11: regularisation - a net that memorises wrong labels, and what helps against it

What you learn
    What overfitting looks like in the curves of training and validation, and nine remedies: weight
    decay, dropout, variational dropout, batch and layer normalisation, a layer-normalised cell,
    label smoothing, early stopping and an ensemble. Which of them help here, and why. How to
    compile a net once and train it from many starts. And how to scale inputs: min-max, z-score, PCA
    whitening.

What you should see
    A table of ten variants of one net, and two figures: 11_curves.png and 11_scaling.png.

How long it takes (measured on two cores)
    20 seconds, with nothing compiled before. With --quick 6 seconds.

What you need to know
    NumPy, and lessons 0 to 3.

The file is a script and a notebook: editors that know `# %%` cells open it as one. There, run the
cells from the top; the last one runs the whole lesson.
"""

# %%
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy: small products, one thread

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import _lesson
import matplotlib.pyplot as plt
import numpy as np
import pytensor
import pytensor.tensor as pt

import symrnn as sr
from symrnn import plots
from symrnn.tasks.rotation import best_guess, rotation

Array = np.ndarray[Any, Any]

# %% [markdown]
# ## 1. A task that is easy to overfit
#
# A point goes round a circle once or twice, one way or the other. The net sees ten noisy positions
# and says which of the four it was. There are 100 sequences to learn from, and a fifth of their
# labels is wrong. A net with 2000 weights can memorise 100 labels, the wrong ones too. What
# it should learn is the rule.
#
# The net does not learn from the validation set. It shows, during training, how well the net does
# on sequences that it has not seen, and so when to stop. It is made in the same way, wrong labels
# and all, as it would be in life. Whoever knows the rule, and how often labels are wrong, gives the
# right class the probability 0.8 and each other one 0.2 / 3. The loss is then
# -0.8 log 0.8 - 0.2 log(0.2 / 3) = 0.72 on average, and nobody can do better. The test set is used
# once, at the end. Its labels are all correct: there, whoever knows the rule is right on nearly all
# sequences, and misses a few because of the noise.

WRONG = 0.2
FLOOR = -(1 - WRONG) * np.log(1 - WRONG) - WRONG * np.log(WRONG / 3)


# %%
class Data(NamedTuple):
    """Sequences (time, samples, 2) and classes (samples,)."""

    x: Array
    t: Array
    valid_x: Array
    valid_t: Array
    test_x: Array
    test_t: Array


def make_data(rng: np.random.Generator, n_train: int = 100, wrong: float = WRONG) -> Data:
    """Draw the three sets."""
    return Data(
        *rotation(n_train, rng=rng, label_noise=wrong),
        *rotation(200, rng=rng, label_noise=wrong),
        *rotation(1000, rng=rng),
    )


# %% [markdown]
# ## 2. The net, and the remedies that are part of its graph
#
# A GRU reads the positions, its outputs are averaged over time, and a dense layer makes logits of
# the mean, the numbers that the softmax turns into probabilities. Each remedy is one more line in
# the graph of training, the loss, or the updates:
#
#     weight decay             p <- (1 - eta * decay) p before each step (AdamW; Loshchilov and
#                              Hutter, 2019): small weights make smooth functions
#     dropout                  h_t <- m_t * h_t / 0.5, m_t = 0 or 1, drawn anew at each step
#                              (Srivastava et al., 2014): no unit can rely on another one
#     variational dropout      the same m at all steps of a sequence, on the way from h_{t-1} into
#                              the GRU as well (Gal and Ghahramani, 2016)
#     batch normalisation      h_t minus its mean, divided by its standard deviation, both over all
#                              steps and sequences of a batch (Ioffe and Szegedy, 2015)
#     layer normalisation      the same, but over the units of one step of one sequence (Ba et al.,
#                              2016)
#     layer-normalised cell    the same inside the GRU, for what goes into its gates
#     label smoothing          the target is 0.85 for the label and 0.05 for each other class
#                              (Szegedy et al., 2016), not 1 and 0
#
# Dropout and batch normalisation work differently at inference: dropout does nothing, and batch
# normalisation takes running means. So there are two graphs with the same weights.

REMEDIES = (
    "no remedy",
    "weight decay",
    "dropout",
    "variational dropout",
    "batch normalisation",
    "layer normalisation",
    "layer-normalised cell",
    "label smoothing",
)
QUICK_REMEDIES = ("no remedy", "weight decay", "variational dropout", "batch normalisation")
N_HIDDEN = 24


# %%
def make_layers(remedy: str, rng: np.random.Generator) -> sr.Module:
    """Return cell, head and normalisation (or None), their weights drawn from `rng`."""
    cell: Any = sr.GRUCell(2, N_HIDDEN, rng=rng)
    if remedy == "layer-normalised cell":
        cell = sr.LayerNormalised(cell)
    norms = {"batch normalisation": sr.BatchNorm, "layer normalisation": sr.LayerNorm}
    norm = norms[remedy](N_HIDDEN) if remedy in norms else None
    return sr.Module(cell=cell, head=sr.Dense(N_HIDDEN, 4, rng=rng), norm=norm)


class Net:
    """The net with one remedy: a compiled step of training, and one function for inference."""

    def __init__(self, remedy: str, mode: Any) -> None:
        self.remedy = remedy
        rng = np.random.default_rng(0)
        self.layers: Any = make_layers(remedy, rng)
        self.params = self.layers.params

        def logits(x: Any, training: bool) -> Any:
            cell, norm = self.layers.cell, self.layers.norm
            if training and remedy == "variational dropout":
                cell = sr.VariationalDropout(cell, 0.5, rng=rng)
            h, _ = sr.unroll(cell, x)  # h: (time, batch, hidden)
            if remedy == "dropout":
                h = sr.Dropout(0.5, rng=rng)(h, training=training)
            elif remedy == "batch normalisation":
                h = norm(h, training=training)
            elif remedy == "layer normalisation":
                h = norm(h)
            return self.layers.head(h.mean(axis=0))  # (batch, classes)

        x, t = pt.tensor3("x"), pt.lvector("t")
        smoothing = 0.2 if remedy == "label smoothing" else 0.0
        decay = 1.0 if remedy == "weight decay" else 0.0  # AdamW without decay is Adam
        loss = sr.categorical_cross_entropy(logits(x, training=True), t, label_smoothing=smoothing)
        updates = sr.adamw(loss, self.params, 0.01, weight_decay=decay)
        self.step = sr.function([x, t], loss, updates=updates, mode=mode)
        probabilities = pt.special.softmax(logits(x, training=False), axis=-1)
        self.predict = sr.function([x], probabilities, mode=mode)
        self.first = {variable: variable.get_value() for variable in self.step.get_shared()}


# %% [markdown]
# ## 3. Compiled once, started many times
#
# One training says little: data, weights and order are random. We take several seeds. A graph need
# not be compiled for each, because a compiled function reads its shared variables at every call.
# All that training changes is in its updates: weights, the state of Adam, running means, and
# the generators of the masks. So these are put back, and new weights are drawn.


# %%
def start_anew(net: Net, rng: np.random.Generator) -> None:
    """Set everything back to the start, and draw weights anew."""
    for variable, value in net.first.items():
        variable.set_value(value)
    for weight, new in zip(net.params, make_layers(net.remedy, rng).params, strict=True):
        weight.set_value(new.get_value())


# %% [markdown]
# ## 4. Training, and early stopping
#
# After each epoch the net gives the probabilities of the classes, for all training and validation
# sequences. From these come all the curves: the plain cross-entropy without dropout and without
# smoothed labels, so that all variants can be compared.
#
# `EarlyStopping` (Prechelt, 1998) is told the validation loss after each epoch. It keeps a copy of
# the best weights, says to stop when ten epochs have brought nothing better, and sets the weights
# back to the best ones.


# %%
class Run(NamedTuple):
    """Probabilities of the classes after each epoch (epochs, samples, 4), and at the end."""

    train: Array
    valid: Array
    test: Array  # (samples, 4)


def cross_entropy(p: Array, t: Array) -> Array:
    """Return ``-mean log p[t]``, for p of shape (..., samples, classes) and t (samples,)."""
    return np.asarray(-np.log(p[..., np.arange(len(t)), t]).mean(axis=-1))


def learn(net: Net, data: Data, seed: Any, epochs: int, patience: int | None = None) -> Run:
    """Train from a new start; with `patience` until the validation loss falls no more."""
    rng = np.random.default_rng(seed)
    start_anew(net, rng)
    stopping = sr.EarlyStopping(net.params, patience=patience) if patience else None
    both, n_train = np.concatenate([data.x, data.valid_x], axis=1), len(data.t)
    seen: list[Array] = []

    def look(*_: Any) -> bool:
        seen.append(net.predict(both))
        return bool(stopping and stopping(cross_entropy(seen[-1][n_train:], data.valid_t)))

    history = sr.train(
        net.step,
        lambda: sr.minibatches([data.x, data.t], 50, rng=rng, axes=[1, 0]),
        epochs=epochs,
        progress=False,
        each_epoch=look,
    )
    if history.interrupted:
        raise KeyboardInterrupt
    if stopping:
        stopping.restore()
        seen += [seen[stopping.best_epoch - 1]] * (epochs - len(seen))  # the restored ones go on
    p = np.array(seen)
    return Run(p[:, :n_train], p[:, n_train:], net.predict(data.test_x))


# %% [markdown]
# ## 5. An ensemble
#
# Four nets without a remedy learn from the same data, from different starts. Each of them learns
# the rule and some nonsense, but the nonsense is not the same. The mean of their probabilities
# keeps what they agree on.


# %%
def ensemble(runs: list[Run]) -> Run:
    """Return the mean of the probabilities."""
    return Run(*(np.mean(p, axis=0) for p in zip(*runs, strict=True)))


# %% [markdown]
# ## 6. What you see
#
# The figure has the median of three seeds and their range, the table their means and the accuracy
# for each seed. Loss and accuracy measure different things. The loss measures certainty: to be sure
# and wrong costs most. The accuracy only counts how often the most probable class is the right one.
#
# - No remedy: the training loss goes to 0.03, the validation loss turns round at 1.09 and climbs to
#   2.33. The net has memorised wrong labels and is sure of them, and a wrong answer costs
#   more the surer it is. It is right on 65 % of the test set.
# - Weight decay (1 % at each step) brings the training loss down to 0.35 only: small weights cannot
#   tell all the sequences apart. The validation loss rises to 1.32.
# - Dropout hardly helps. It acts on the outputs alone, where the mean over ten steps averages the
#   masks away, and the weights inside the GRU see nothing of it.
# - Variational dropout is the best here: 1.02, and 82 % right. Half of the units are missing for a
#   whole sequence, inside the GRU as well, so the memory of one sequence cannot rest on a few of
#   them. It learns most slowly. It delays overfitting and does not prevent it: with --epochs 150
#   the loss ends at 1.13.
# - Batch and layer normalisation are there to make nets learn faster, and so they do, the wrong
#   labels too: at the end three of the four highest validation losses are theirs. Yet two of the
#   three are right more often than the net without a remedy: 69.6 % with batch normalisation, and
#   72.5 % with layer normalisation, which is above weight decay (71.8 %) and the ensemble as well.
# - The layer-normalised cell is right least often. Perhaps because a position far out tells the
#   angle better than one near the centre, and the cell makes both equally large.
# - Label smoothing keeps the net from being too sure, so the loss rises little, to 1.22. But it
#   learns the wrong labels all the same: it is right on 69 %, little more than without.
# - Early stopping keeps the weights of the lowest point: 1.09, and 76 % right, for about half of
#   the work. It needs nothing but a validation set, and goes with all the others. (In the figure a
#   curve goes on after the stop with what was restored.)
# - The ensemble of four is right on 71 %, one net alone on 65 %, and its loss is 1.57: where the
#   four differ they are less sure together. It costs four trainings.
#
# The standard deviation over three seeds is up to 6 points (8 with --seed 4). But all variants of
# one seed have the same data and begin with the same weights, so compare variants seed by seed.
# Layer normalisation is right more often than no remedy for each of the three seeds; variational
# dropout is the best for two of them.
#
# With --seed 4 (seeds 4 to 6) six variants end with a lower loss than the net without a remedy:
# weight decay, both kinds of dropout, label smoothing, early stopping and the ensemble. They do so
# here as well, and here layer normalisation is a seventh. Variational dropout is again most often
# right, 83.0 % against 73.7 % without a remedy, now for all three seeds. Layer normalisation is
# right on 76.5 %, the ensemble on 75.4 %, and early stopping on 72.5 %, less than without. Each
# remedy was tried in one strength only, and another task may have another winner.


# %%
class Summary(NamedTuple):
    """One variant over all seeds: losses (seeds, epochs), and the test accuracy (seeds,)."""

    train: Array
    valid: Array
    accuracy: Array


def report(name: str, runs: list[Run], data: list[Data]) -> Summary:
    """Print means over the seeds, and the accuracy's deviation and single values; return all."""
    pairs = list(zip(runs, data, strict=True))
    s = Summary(
        np.array([cross_entropy(run.train, d.t) for run, d in pairs]),
        np.array([cross_entropy(run.valid, d.valid_t) for run, d in pairs]),
        np.array([(run.test.argmax(axis=-1) == d.test_t).mean() for run, d in pairs]),
    )
    last, best, end = (v.mean() for v in (s.train[:, -1], s.valid.min(axis=1), s.valid[:, -1]))
    accuracy = f"{100 * s.accuracy.mean():.1f} +- {100 * s.accuracy.std():.1f} %"
    each = " ".join(f"{100 * a:.0f}" for a in s.accuracy)
    print(f"  {name:22}  {last:8.2f}  {best:8.2f} {end:8.2f}   {accuracy:>14}  {each}", flush=True)
    return s


def all_variants(
    nets: dict[str, Net], seeds: list[int], epochs: int, n_members: int
) -> tuple[dict[str, list[Run]], dict[str, Summary]]:
    """Train every variant, once for each seed; print a table."""
    print(f"  {'':22}  training   validation loss   test accuracy")
    print(f"  {'':22}      last      best     last   mean, deviation, each seed")
    data = [make_data(np.random.default_rng([seed, 0])) for seed in seeds]
    pairs = list(zip(seeds, data, strict=True))
    found, summaries = {}, {}
    for name in [*nets, "early stopping", f"ensemble of {n_members}"]:
        net = nets.get(name, nets["no remedy"])
        patience = 10 if name == "early stopping" else None
        if name.startswith("ensemble"):  # its first member has been trained already
            found[name] = [
                ensemble(
                    [run, *(learn(net, d, [seed, k], epochs) for k in range(2, n_members + 1))]
                )
                for (seed, d), run in zip(pairs, found["no remedy"], strict=True)
            ]
        else:
            found[name] = [learn(net, d, [seed, 1], epochs, patience) for seed, d in pairs]
        summaries[name] = report(name, found[name], data)
    return found, summaries


def draw_curves(summaries: dict[str, Summary], folder: Path) -> None:
    """Draw training and validation losses of every variant: the median and the range."""
    figure, axes = plt.subplots(2, len(summaries) // 2, figsize=(13, 5.4), sharex=True, sharey=True)
    figure.subplots_adjust(left=0.05, right=0.99, top=0.87, bottom=0.09, wspace=0.06, hspace=0.18)
    for ax, (name, s) in zip(axes.flat, summaries.items(), strict=True):
        plots.loss_bands({"training": s.train, "validation": s.valid}, ax=ax, log=False)
        ax.get_legend().remove()  # one for all
        ax.axhline(FLOOR, color="gray", linestyle=":", label="best possible validation loss")
        ax.set_title(name, fontsize=10)
        ax.set(xlabel="epoch", ylabel="cross-entropy")
        ax.label_outer()
    axes[0, 0].set(ylim=(0, 3), yticks=[0, 1, 2, 3])
    lines, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(lines, labels, loc="upper center", ncols=3, frameon=False)
    _lesson.save_figure(figure, folder, "11_curves")


# %% [markdown]
# ## 7. Scaling the inputs
#
# Now the positions are read by two badly placed sensors. One says 300 + 40 a. The other, in other
# units, mostly the same: 0.02 (0.95 a + 0.3 b). The way round shows only in the small difference
# between the two. No label is wrong, and the net without a remedy learns from 300 sequences.
#
#     min-max          (x - min) / (max - min), for each feature
#     z-score          (x - mean) / deviation, for each feature
#     PCA whitening    (x - mean) V / sqrt(v), for all together: V are the directions in which the
#                      training inputs vary independently (eigenvectors of their covariance), and v
#                      their variances in these (eigenvalues). The covariance becomes the identity.
#
# All these numbers come from the training set and are then applied to the other sets, as they will
# be to inputs that nobody knows yet. Each function below is given the training set and returns the
# function that scales. A feature that never changes has to be left out first, or one divides by 0.
#
# As they are, the first feature drives every gate to its limit, where the gradient is 0: nothing is
# learned, and the loss stays at log 4 = 1.39. Min-max is no better in so few epochs. Its inputs are
# all positive and vary by 0.15 around 0.46, and it depends on the most extreme readings. With the
# z-score the net learns, but the two features still say nearly the same (correlation 0.95), and the
# loss is at 1.20 after three epochs. Whitening makes the small difference as large as the sum: 0.83
# after three epochs, and 0.23 at the end in place of 0.35. It would do the same for a direction in
# which there is nothing but noise.


# %%
Scaler = Callable[[Array], Array]


def raw_readings(x: Array) -> Array:
    """Return what two badly placed sensors would say of the positions x, (time, samples, 2)."""
    a, b = x[..., 0], x[..., 1]
    return np.stack([300 + 40 * a, 0.02 * (0.95 * a + 0.3 * b)], axis=-1)


def as_they_are(X: Array) -> Scaler:
    """No scaling."""
    return lambda x: x


def min_max(X: Array) -> Scaler:
    """Each feature goes from 0 to 1 in the training set X, (time, samples, features)."""
    low, high = X.min(axis=(0, 1)), X.max(axis=(0, 1))
    return lambda x: (x - low) / (high - low)


def z_score(X: Array) -> Scaler:
    """Each feature has mean 0 and variance 1."""
    mean, deviation = X.mean(axis=(0, 1)), X.std(axis=(0, 1))
    return lambda x: (x - mean) / deviation


def whitening(X: Array) -> Scaler:
    """All features together have mean 0 and the identity as covariance."""
    rows = X.reshape(-1, X.shape[-1])
    mean = rows.mean(axis=0)
    variances, directions = np.linalg.eigh(np.cov(rows.T))
    return lambda x: (x - mean) @ directions / np.sqrt(variances)


SCALERS = {
    "as they are": as_they_are,
    "min-max": min_max,
    "z-score": z_score,
    "PCA whitening": whitening,
}


def compare_scalers(
    net: Net, seeds: list[int], epochs: int
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return the validation losses (seeds, epochs) and the scaled training inputs (rows, 2)."""
    losses, inputs = {}, {}
    for name, fit in SCALERS.items():
        curves = []
        for seed in seeds:
            data = make_data(np.random.default_rng([seed, 0]), n_train=300, wrong=0)
            X = raw_readings(data.x)
            scale = fit(X)  # on the training set only
            scaled = Data(*(scale(raw_readings(a)) if a.ndim == 3 else a for a in data))
            run = learn(net, scaled, [seed, 1], epochs)
            curves.append(cross_entropy(run.valid, data.valid_t))
        losses[name], inputs[name] = np.array(curves), scaled.x.reshape(-1, 2)
    return losses, inputs


def draw_scaling(losses: dict[str, Array], inputs: dict[str, Array], folder: Path) -> None:
    """Draw the scaled inputs, and below them how fast the net learns from each."""
    figure = plt.figure(figsize=(11, 7), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=(1, 1.2))
    for ax, (name, x) in zip(top.subplots(1, 4), inputs.items(), strict=True):
        ax.plot(*x[::4].T, ".", markersize=2, alpha=0.5)
        ax.set(title=name, xlabel="feature 1")
    top.axes[0].set_ylabel("feature 2")
    ax = bottom.subplots()
    epochs = np.arange(1, losses["as they are"].shape[1] + 1)
    plots.loss_bands(losses, ax=ax, log=False)
    ax.axhline(np.log(4), color="gray", linestyle=":", label="guessing, log 4")
    ax.set(xlabel="epoch", ylabel="validation loss", ylim=(0, None), xticks=epochs)
    ax.legend()
    _lesson.save_figure(figure, folder, "11_scaling")


# %%
def main(
    mode: str | None = None,
    seed: int = 1,
    n_seeds: int = 3,
    epochs: int = 60,
    figures: str = "figures",
    quick: bool = False,
) -> dict[str, Any]:
    """Run the lesson; return what its parts found."""
    _lesson.positive_option("--n-seeds", n_seeds)
    _lesson.positive_option("--epochs", epochs)
    with pytensor.config.change_flags(floatX="float64"):
        if quick:
            return lesson(mode, QUICK_REMEDIES, [seed], 4, 2, figures, quick)
        seeds = list(range(seed, seed + n_seeds))
        return lesson(mode, REMEDIES, seeds, epochs, 4, figures, quick)


def lesson(
    mode: Any,
    remedies: Sequence[str],
    seeds: list[int],
    epochs: int,
    n_members: int,
    figures: str,
    quick: bool,
) -> dict[str, Any]:
    """Do what `main` says."""
    folder = _lesson.figure_folder(figures, quick)
    data = make_data(np.random.default_rng([seeds[0], 0]))
    known = (best_guess(data.test_x) == data.test_t).mean()
    print(f"1. {len(data.t)} sequences, {100 * WRONG:.0f} % of the labels wrong")
    print(f"  whoever knows the rule has the loss {FLOOR:.2f} and is right on {100 * known:.1f} %")

    print("\n2. Compiling the nets", flush=True)
    nets = {}
    for remedy in remedies:
        nets[remedy] = Net(remedy, mode)
        print(f"  {remedy}", flush=True)
    print(f"  the one without a remedy has {nets['no remedy'].layers.n_params} weights")

    print(f"\n3.-6. {epochs} epochs from {len(seeds)} starts each", flush=True)
    found, summaries = all_variants(nets, seeds, epochs, n_members)
    draw_curves(summaries, folder)

    print("\n7. Scaling the inputs", flush=True)
    losses, inputs = compare_scalers(nets["no remedy"], seeds, max(3, epochs // 4))
    for name, x in inputs.items():
        (m, n), (d, e) = x.mean(axis=0).round(3) + 0.0, x.std(axis=0)
        print(f"  {name:13}  means {m:.3g} and {n:.3g}, deviations {d:.2g} and {e:.2g}", end="")
        print(f", correlation {abs(np.corrcoef(x.T)[0, 1]):.2f}")
    off = abs(np.cov(inputs["PCA whitening"].T) - np.eye(2)).max()
    print(f"  covariance after whitening: the identity, up to {off:.0e}")
    for name, curves in losses.items():
        early, last = curves[:, 2].mean(), curves[:, -1].mean()
        print(f"  {name:13}  validation loss {early:.2f} after 3 epochs, {last:.2f} at the end")
    draw_scaling(losses, inputs, folder)
    _lesson.show_figures()
    return {"nets": nets, "found": found, "summaries": summaries, "scaling": losses}


if __name__ == "__main__":
    _lesson.run(
        main,
        help={
            "seed": "the first seed, of data, weights and order",
            "n_seeds": "how many trainings of each variant",
            "epochs": "of each training",
            "figures": "folder for the figures",
            "quick": "half of the variants, one seed, 4 epochs, to see that everything works",
        },
    )
