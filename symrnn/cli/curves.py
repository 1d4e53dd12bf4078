"""The picture of a training's curves."""

import numpy as np
from matplotlib.figure import Figure

from symrnn.plots import loss_bands
from symrnn.training.run import TrainingRun


def curves(run: TrainingRun, n_batches: int) -> Figure:
    """Draw losses and perplexity, and the learning rate below, against epochs."""
    epochs = np.array([entry["step"] for entry in run.losses]) / n_batches
    figure = Figure(figsize=(8, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    losses = {
        f"{name}, finally {run.losses[-1][name]:.3f}": [[entry[name] for entry in run.losses]]
        for name in ("training", "validation")
    }
    loss_bands(losses, ax=above, steps=epochs, log=False)
    for line in above.lines:
        line.set_marker("." if len(epochs) < 40 else "")
    best = run.losses[run.stopping.best_epoch - 1]
    above.plot(
        best["step"] / n_batches, best["validation"], "*", color="k", markersize=11,
        label=f"best, {best['validation']:.3f}: these weights are kept",
    )  # fmt: skip
    above.set(xlabel="", ylabel="loss in nats per token")
    above.legend()
    low, high = above.get_ylim()
    perplexity = above.twinx()
    perplexity.set(ylim=(np.exp(low), np.exp(high)), yscale="log", ylabel="perplexity")
    perplexity.yaxis.set_major_formatter("{x:.3g}")
    perplexity.yaxis.set_minor_formatter("{x:.3g}")
    below.plot(
        epochs, [entry["learning_rate"] for entry in run.losses], color="tab:gray", marker="."
    )
    below.set(xlabel="epochs", ylabel="learning rate")
    below.set_ylim(bottom=0)
    below.grid(alpha=0.3)
    return figure
