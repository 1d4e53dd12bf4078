"""Lesson 2: bit counting - a recurrent net with two weights learns to count ones

What you learn
    To build a recurrent net as a `scan` graph, to get the gradient of its cost through time from
    PyTensor, and to train it with two optimizers. What the cost looks like as a landscape, why one
    of them crawls through it and the other does not, and which learning rates cannot work.

What you should see
    Gradient descent (learning rate 1e-5) falls from 553 to 0.0663 in 2000 epochs and ends at
    w_x = 1.0597, w_rec = 0.9863. Centred RMSProp (learning rate 0.001) is below 0.01 after 400
    epochs and ends within 0.001 of the true weights [1, 1]. Two figures: 02_cost_surface.png and
    02_loss_curves.png.

How long it takes (measured on two cores)
    6 seconds, the first time hardly more.

What you need to know
    Lessons 0 and 1.

Every mode prints the same costs of gradient descent. Those of RMSProp differ between modes in the
third digit: float32 numbers are rounded at other places, and its steps are long.

The file is a script and a notebook: editors that know `# %%` cells open it as one. There, run the
cells from the top; the last one runs the whole lesson.
"""

# %%
from typing import Any, Literal

import _lesson
import matplotlib.pyplot as plt
import numpy as np
import pytensor
import pytensor.tensor as pt

import symrnn as sr
from symrnn import plots
from symrnn.tasks.bit_counting import bit_counting, check_bits

Path = list[tuple[float, float]]

# %% [markdown]
# ## 1. The net
#
# It reads one bit a step and has one number s as its memory. (All 20 samples go through at once, so
# in the code x_t and s_t hold 20 numbers.)
#
#     s_t = x_t * w_x + s_{t-1} * w_rec        s_0 = 0
#
# After the last bit its answer is y = s_T. With w_x = 1 and w_rec = 1 that is the number of ones,
# so we know which weights training should find. The cost is the sum over all samples of
# (y - t)^2, where t is the true count.


# %%
class BitCounter:
    """The net, its cost and its two weights, as a graph without any help from a library."""

    def __init__(self, w_x: float, w_rec: float) -> None:
        self.x = pt.matrix("x")  # (time, samples): scan walks along the first axis
        self.t = pt.vector("t")  # (samples,)
        self.w_x = pytensor.shared(np.asarray(w_x, dtype=pytensor.config.floatX), name="w_x")
        self.w_rec = pytensor.shared(np.asarray(w_rec, dtype=pytensor.config.floatX), name="w_rec")
        self.params = [self.w_x, self.w_rec]

        [s] = pytensor.scan(  # s_1, s_2, ..., s_T: (time, samples)
            self.step,
            sequences=[self.x],  # one row a step: x_t (samples,), the step's first argument
            outputs_info=[pt.zeros(self.x.shape[1])],  # s_0; then the last result is fed back
            non_sequences=self.params,  # the same in every step: the step's last arguments
            strict=True,
            return_list=True,
            return_updates=False,
        )
        self.y = s[-1]  # (samples,)
        self.cost = ((self.y - self.t) ** 2).sum()

    @staticmethod
    def step(x_t: Any, s_before: Any, w_x: Any, w_rec: Any) -> Any:
        """Return the next s, shape (samples,)."""
        return x_t * w_x + s_before * w_rec

    def compile_train(self, updates: dict[Any, Any], mode: str) -> Any:
        """Return a function (X, t) -> cost that then changes the weights."""
        return sr.function([self.x, self.t], self.cost, updates=updates, mode=mode)

    def compile_answer(self, mode: str) -> Any:
        """Return a function X -> counts."""
        return sr.function([self.x], self.y, mode=mode)

    def weights(self) -> tuple[float, float]:
        """Return w_x and w_rec."""
        return float(self.w_x.get_value()), float(self.w_rec.get_value())


# %% [markdown]
# ## 2. The gradient, twice
#
# `pytensor.grad(cost, [w_x, w_rec])` walks the graph backwards, through every step of the scan:
# backpropagation through time. By hand it is a second loop that runs from the last step to the
# first and carries d = dC/ds_t:
#
#     d = 2 (y - t)                                  at t = T
#     dC/dw_x += sum(x_t * d),  dC/dw_rec += sum(s_{t-1} * d),  d <- d * w_rec
#
# In NumPy the two weights may be arrays as well, so the same function gives a whole landscape.


# %%
def cost_and_gradient(X: Any, t: Any, w_x: Any, w_rec: Any) -> tuple[Any, Any, Any]:
    """Return C, dC/dw_x and dC/dw_rec, computed by hand; weights of any one shape."""
    w_x, w_rec = np.asarray(w_x)[..., None], np.asarray(w_rec)[..., None]
    s = [np.zeros(X.shape[1])]
    for x_t in X:
        s.append(x_t * w_x + s[-1] * w_rec)
    error = s[-1] - t
    d, d_x, d_rec = 2 * error, 0.0, 0.0
    for x_t, s_before in zip(X[::-1], s[-2::-1], strict=True):
        d_x = d_x + (x_t * d).sum(axis=-1)
        d_rec = d_rec + (s_before * d).sum(axis=-1)
        d = d * w_rec
    return (error**2).sum(axis=-1), d_x, d_rec


# %% [markdown]
# ## 3. Gradient descent
#
#     w <- w - learning_rate * dC/dw
#
# The published run is in float32, and so is ours. A float32 number has about seven digits, of which
# the table below shows all: so it matters how often one rounds. Here the step is computed in
# float64 and rounded to float32 once, as a processor's fused multiply-add does. Rounding the
# product as well, as `symrnn.gradient_descent` may, changes the fourth decimal of two of
# the twenty costs by one.


# %%
def gradient_descent(cost: Any, params: list[Any], learning_rate: float) -> dict[Any, Any]:
    """Return the updates of gradient descent."""
    eta = np.float64(np.float32(learning_rate))
    gradients = pytensor.grad(cost, params)
    return {w: (w - eta * g).astype(w.dtype) for w, g in zip(params, gradients, strict=True)}


# %% [markdown]
# ## 4. RMSProp
#
# RMSProp divides each gradient by a running root mean square of itself, so that a step is about as
# long as the learning rate, on a cliff and on a plain:
#
#     n <- rho n + (1 - rho) g^2        w <- w - learning_rate g / sqrt(n + epsilon)
#
# Below it is written out in NumPy, with the gradient by hand. It takes 1000 epochs to get under
# 0.02. The published run took 300, with an optimizer that was not published. Centred RMSProp with
# Nesterov's momentum has that speed; its settings here were found by a search for the closest
# costs. It divides by the standard deviation, the root of E[g^2] - E[g]^2. Where the gradient
# hardly changes from step to step that is small, and a step can be 90 times as long as the learning
# rate. For it we take the optimizer `symrnn.rmsprop`, which makes updates as ours above does.


# %%
def plain_rmsprop(
    X: Any, t: Any, start: tuple[float, float], epochs: int, learning_rate: float
) -> tuple[list[float], Path]:
    """Return costs and weights of plain RMSProp, by hand."""
    w, n = np.array(start), np.zeros(2)
    costs, path = [], [start]
    for _ in range(epochs):
        cost, *g = cost_and_gradient(X, t, *w)
        n = 0.9 * n + 0.1 * np.square(g)
        w = w - learning_rate * np.array(g) / np.sqrt(n + 1e-6)
        costs.append(float(cost))
        path.append((w[0], w[1]))
    return costs, path


FAST_RMSPROP: dict[str, Any] = {
    "centered": True, "rho": 0.65, "mu": 0.6, "nesterov": True, "epsilon": 10.0,
    "epsilon_in_root": True,
}  # fmt: skip


# %% [markdown]
# ## 5. Training
#
# One compiled call is one epoch: the cost of the present weights comes back, then the weights
# change. `symrnn.train` is the loop around it, with a progress bar, a check of the data,
# and a stop if the cost is NaN or infinite.


# %%
def learn(
    net: BitCounter, updates: dict[Any, Any], X: Any, t: Any, epochs: int, mode: str, name: str
) -> tuple[list[float], Path]:
    """Train the net; return the costs, and the weights before each epoch and at the end."""
    print(f"\n{name}: compiling cost, gradient and update ...", flush=True)
    step = net.compile_train(updates, mode)
    path = [net.weights()]
    history = sr.train(
        step, [(X, t)], epochs=epochs, each_step=lambda *_: path.append(net.weights()), label=name
    )
    report(name, history.loss, path)
    if history.interrupted:
        raise KeyboardInterrupt
    return history.loss, path


def report(name: str, costs: list[float], path: Path) -> None:
    """Print the cost of every hundredth epoch, at most twenty of them, and the last weights."""
    every = 100 * max(1, len(costs) // 2000)
    shown = costs[every - 1 :: every]
    if shown:
        print(f"{name}, cost at epoch {every}, {2 * every}, ...:")
    for first in range(0, len(shown), 10):
        print("  " + " ".join(f"{cost:.4f}" for cost in shown[first : first + 10]))
    w_x, w_rec = path[-1]
    print(f"  after {len(costs)} epochs: cost {costs[-1]:.4f}, w_x {w_x:.4f}, w_rec {w_rec:.4f}")


# %% [markdown]
# ## 6. The landscape
#
# Left, the cost over both weights; colours and lines are on a logarithmic scale. From the start a
# gentle slope leads down to a narrow valley, the dark band, and behind the valley stands a wall:
# w_rec is multiplied with itself once for each step, so above 1 the answer explodes. On the right
# the way downhill at each point: all arrows are equally long, and the colour is the size of the
# gradient. It spans more than four powers of ten.
#
# That explains the table. A stride of gradient descent is the learning rate times that size. On
# the slope the size is about 150, so 400 epochs bring little. But the gradient grows with the
# powers of w_rec: the closer to the valley, the steeper, up to 950, and between epochs 500 and 600
# the cost falls from 362 to 0.27. Along the floor of the valley the size is about 3, and the rest
# of the 2000 epochs is a crawl. Plain RMSProp divides by the size, and walks at one pace. The
# centred one takes long strides where the slope is even, flies past the valley's end, and comes
# back along its floor.


# %%
def draw_surface(X: Any, t: Any, paths: dict[str, Path]) -> Any:
    """Return a figure with the cost surface and the gradient field, the paths on both."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.6))
    figure.subplots_adjust(left=0.065, right=0.955, bottom=0.12, top=0.92, wspace=0.28)
    names, low, high = ("w_x", "w_rec"), (-0.5, -0.5), (2.5, 1.5)

    w_x, w_rec = (np.linspace(a, b, 80) for a, b in zip(low, high, strict=True))
    cost, _, _ = cost_and_gradient(X, t, *np.meshgrid(w_x, w_rec))
    plots.cost_surface(w_x, w_rec, np.maximum(cost, 1e-2), ax=left, names=names)
    left.set_title("cost, and the ways to its minimum")

    w_x, w_rec = (np.linspace(a, b, 21) for a, b in zip(low, high, strict=True))
    _, d_x, d_rec = cost_and_gradient(X, t, *np.meshgrid(w_x, w_rec))
    plots.gradient_field(w_x, w_rec, -d_x, -d_rec, ax=right, names=names)
    right.set_title("downhill, and how steep it is")
    for ax in (left, right):
        ax.plot(1, 1, "*", color="w", markeredgecolor="k", markersize=13, zorder=5, label="minimum")
        plots.paths(paths, ax=ax)
        ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    right.get_legend().remove()  # it would hide arrows, and says the same as the left one
    return figure


# %% [markdown]
# ## 7. Which learning rates cannot work
#
# Around its minimum the cost is a bowl, and its curvature in the steepest direction is the largest
# eigenvalue of the matrix of second derivatives. In that direction a step of gradient descent
# multiplies the distance to the minimum by 1 - learning_rate * curvature. If that is below -1,
# every step jumps across the valley and lands higher than it came from: the learning rate must stay
# below 2 / curvature. A little above, the weights swing between the walls of the valley for ever;
# far above, training diverges. RMSProp's steps do not become short near the minimum, so it ends in
# such a swing as well: its w_rec goes to and fro by 0.0007 to each side of 1, and its cost rests at
# 0.0067, not at 0.


# %%
def largest_learning_rate(X: Any, t: Any) -> float:
    """Return 2 / curvature at the true weights."""
    h = 1e-5  # second derivatives as differences of first ones
    hessian = [
        np.subtract(
            cost_and_gradient(X, t, 1 + dx, 1 + dr)[1:], cost_and_gradient(X, t, 1 - dx, 1 - dr)[1:]
        )
        / (2 * h)
        for dx, dr in ((h, 0), (0, h))
    ]
    return float(2 / np.linalg.eigvalsh(hessian)[-1])


def try_learning_rates(X: Any, t: Any, start: tuple[float, float], epochs: int = 300) -> None:
    """Print where the cost ends up with gradient descent by hand at several learning rates."""
    print(f"\na learning rate must be below {largest_learning_rate(X, t):.1e} = 2 / curvature:")
    for learning_rate in (1e-5, 5e-5, 1e-4, 2e-4, 1e-3):
        (w_x, w_rec), costs = start, [0.0]
        while len(costs) <= epochs and costs[-1] < 1e6:
            cost, d_x, d_rec = cost_and_gradient(X, t, w_x, w_rec)
            w_x, w_rec = w_x - learning_rate * d_x, w_rec - learning_rate * d_rec
            costs.append(float(cost))
        last = costs[-20:]
        outcome = f"at epochs {epochs - 19} to {epochs} from {min(last):.2g} to {max(last):.2g}"
        if len(costs) <= epochs:
            outcome = f"{costs[-1]:.0e} at epoch {len(costs) - 1}: diverged"
        print(f"  learning rate {learning_rate:.0e}   cost {outcome}")


# %% [markdown]
# ## 8. The same with the library
#
# `LinearCell` is h_t = x_t W_x + h_{t-1} W_h (+ b) for any number of inputs and hidden units, and
# `unroll` is the scan. Its weights are matrices, so the input has shape (time, batch, features),
# here with one feature. `x_t W_x` does not depend on the state: `unroll` computes it for all steps
# at once, before the loop. The cost must be the same.


# %%
def same_with_library(X: Any, t: Any, weights: tuple[float, float], mode: str) -> float:
    """Return the cost from `LinearCell` and `unroll`."""
    cell = sr.LinearCell(1, 1, W_x=[[weights[0]]], W_h=[[weights[1]]], bias=False)
    x, target = pt.matrix("x"), pt.vector("t")
    _, state = sr.unroll(cell, x[:, :, None])  # state.h: (batch, 1)
    cost = ((state.h[:, 0] - target) ** 2).sum()
    return float(sr.function([x, target], cost, mode=mode)(X, t))


# %%
def main(
    optimizer: Literal["gradient_descent", "rmsprop"] | None = None,
    epochs: int | None = None,
    learning_rate: float | None = None,
    seed: int = 1,
    mode: str | None = None,
    figures: str = "figures",
    quick: bool = False,
) -> dict[str, tuple[list[float], Path]]:
    """Run the lesson; return the costs and the path of each optimizer."""
    with pytensor.config.change_flags(floatX="float32"):
        return lesson(optimizer, epochs, learning_rate, seed, mode, figures, quick)


def lesson(
    optimizer: str | None,
    epochs: int | None,
    learning_rate: float | None,
    seed: int,
    mode: str,
    figures: str,
    quick: bool,
) -> dict[str, tuple[list[float], Path]]:
    """Do what `main` says, in float32."""
    folder = _lesson.figure_folder(figures, quick)
    for flag, value in (("--epochs", epochs), ("--learning-rate", learning_rate)):
        if value is not None:
            _lesson.positive_option(flag, value)
    rng = np.random.RandomState(seed)  # the published data are from NumPy's legacy generator
    X, t = (array.astype("float32") for array in bit_counting(rng=rng))
    check_bits(X, t)
    start = (float(rng.uniform(-0.1, 0.1)), float(rng.uniform(-0.1, 0.1)))
    print(f"X has shape {X.shape}, (time, samples), and t {t.shape}. The first sample and count:")
    print(f"  {X[:, 0].astype(int)} -> {int(t[0])}")
    print(f"start: w_x {start[0]:.4f}, w_rec {start[1]:.4f}")

    runs: dict[str, tuple[list[float], Path]] = {}
    if optimizer != "rmsprop":
        net, eta = BitCounter(*start), learning_rate if learning_rate is not None else 1e-5
        updates = gradient_descent(net.cost, net.params, eta)
        n = epochs or (200 if quick else 2000)
        runs["gradient descent"] = learn(net, updates, X, t, n, mode, "gradient descent")
        path = runs["gradient descent"][1]
        first_step = np.subtract(path[0], path[1]) / eta
        by_hand = np.array(cost_and_gradient(X, t, *start)[1:])
        print(f"gradient at the start: {first_step.round(2)} in its first step, ", end="")
        print(f"{by_hand.round(2)} by hand")
    if optimizer != "gradient_descent":
        net, eta = BitCounter(*start), learning_rate if learning_rate is not None else 0.001
        updates = sr.rmsprop(net.cost, net.params, eta, **FAST_RMSPROP)
        n = epochs or (200 if quick else 600)
        runs["centred RMSProp"] = learn(net, updates, X, t, n, mode, "centred RMSProp")
        plain = plain_rmsprop(X, t, start, epochs or (200 if quick else 1000), eta)
        runs["plain RMSProp"] = plain
        report("\nplain RMSProp, by hand", *plain)

    new_X, new_t = bit_counting(n_samples=3, n_steps=30, rng=rng)
    counts = net.compile_answer(mode)(new_X.astype("float32"))
    trained = "gradient descent" if optimizer == "gradient_descent" else "centred RMSProp"
    print(f"\n30 bits, never seen: {trained} counts {counts.round(2)}, true {new_t.astype(int)}")

    try_learning_rates(X, t, start)

    scan_cost, library_cost = next(iter(runs.values()))[0][0], same_with_library(X, t, start, mode)
    np.testing.assert_allclose(library_cost, scan_cost, rtol=1e-6)
    print(f"\ncost at the start: {scan_cost:.4f} by scan, {library_cost:.4f} by the library")

    figure = draw_surface(X, t, {name: path for name, (_, path) in runs.items()})
    _lesson.save_figure(figure, folder, "02_cost_surface")
    ax = plots.loss_curves({name: costs for name, (costs, _) in runs.items()})
    ax.set(xlabel="epoch", ylabel="cost", title="sum of squared errors over 20 samples")
    _lesson.save_figure(ax.figure, folder, "02_loss_curves")
    _lesson.show_figures()
    return runs


if __name__ == "__main__":
    _lesson.run(
        main,
        help={
            "optimizer": "train with this one only (default: both)",
            "epochs": "(default: gradient descent 2000, centred RMSProp 600, plain RMSProp 1000)",
            "learning_rate": "(default: 1e-5 for gradient descent, 0.001 for RMSProp)",
            "seed": "of the data and the initial weights; 1 gives the published ones",
            "figures": "folder for the figures",
            "quick": "200 epochs, to see that everything works",
        },
    )
