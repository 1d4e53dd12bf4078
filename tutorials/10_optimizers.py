"""Lesson 10: optimizers - ten ways downhill, on a bowl and on a cliff, and learning-rate schedules

What you learn
    Every optimizer of `symrnn.training.optimizers`: its equation, what its state is for, and what
    its path looks like. Each is written twice, as a loop in NumPy and as a compiled function. How
    to choose a learning rate fairly, what clipping does on a cliff, and what a schedule brings when
    gradients are noisy.

What you should see
    Five numbered parts with their tables, and five figures: 10_bowl_paths.png,
    10_bowl_learning_rates.png, 10_bit_counting_paths.png, 10_clipping.png and 10_schedules.png.

How long it takes (measured on two cores)
    Half a minute; the first time a minute, because PyTensor compiles to C and keeps the result on
    disk. With --quick 6 seconds.

What you need to know
    NumPy, and lessons 0 and 2.

The file is a script and a notebook: editors that know `# %%` cells open it as one. There, run the
cells from the top; the last one runs the whole lesson.
"""

# %%
from collections.abc import Callable, Iterator
from itertools import count, islice
from time import perf_counter
from typing import Any

import _lesson
import matplotlib.pyplot as plt
import numpy as np
import pytensor
import pytensor.tensor as pt
from matplotlib.colors import LogNorm

import symrnn as sr
from symrnn import plots
from symrnn.tasks.bit_counting import bit_counting

Gradient = Callable[[Any], Any]  # weights -> gradient, both arrays of one shape

# %% [markdown]
# ## 1. Ten optimizers by hand
#
# Each is a loop: it asks for the gradient g at the weights p, and yields the next weights. What it
# keeps from step to step, its state, is a local variable. eta is the learning rate. The letters are
# those of `symrnn.training.optimizers`, and all products are elementwise.
#
# **Gradient descent** has no state. Where the ground is steep its strides are long, and where it is
# flat they are short; one learning rate has to do for both. In a long valley it jumps from wall to
# wall and creeps along the floor.


# %%
def gradient_descent(gradient: Gradient, p: Any, eta: float) -> Iterator[Any]:
    """``p <- p - eta g``"""
    while True:
        p = p - eta * gradient(p)
        yield p


# %% [markdown]
# **Momentum** keeps a velocity v. Gradients that agree from step to step add up, to ten times
# one gradient with mu = 0.9; those that change sign cancel. The path swings out past the minimum
# and comes back, like a ball in a bowl.


# %%
def momentum(gradient: Gradient, p: Any, eta: float, mu: float = 0.9) -> Iterator[Any]:
    """``v <- mu v + g``, ``p <- p - eta v``"""
    v = 0.0
    while True:
        v = mu * v + gradient(p)
        p = p - eta * v
        yield p


# %% [markdown]
# **Nesterov's momentum** goes one step ahead: it adds the part of the velocity that the next step
# will keep anyway. So it brakes earlier, and swings less.


# %%
def nesterov_momentum(gradient: Gradient, p: Any, eta: float, mu: float = 0.9) -> Iterator[Any]:
    """``v <- mu v + g``, ``p <- p - eta (g + mu v)``"""
    v = 0.0
    while True:
        g = gradient(p)
        v = mu * v + g
        p = p - eta * (g + mu * v)
        yield p


# %% [markdown]
# **AdaGrad** keeps for each weight the sum G of all its squared gradients, and divides by the
# root of it. The first step is eta long in every direction, steep or flat, so it sets out along
# the diagonal. G never shrinks, so steps get shorter for ever; no schedule is needed, but one
# huge gradient is remembered for good.


# %%
def adagrad(gradient: Gradient, p: Any, eta: float, epsilon: float = 1e-10) -> Iterator[Any]:
    """``G <- G + g^2``, ``p <- p - eta g / (sqrt(G) + epsilon)``"""
    G = 0.0
    while True:
        g = gradient(p)
        G = G + g**2
        p = p - eta * g / (np.sqrt(G) + epsilon)
        yield p


# %% [markdown]
# **RMSProp** forgets: n is a running mean of the squared gradients, over some ten steps with rho =
# 0.9. Steps stay about as long as the learning rate, also near the minimum, around which it hops
# for ever. **Centred**, it divides by the standard deviation, without the mean m: where the
# gradient hardly changes its strides are longer. With **Nesterov's momentum** the quotient u takes
# the gradient's place in v.


# %%
def rmsprop(
    gradient: Gradient, p: Any, eta: float, rho: float = 0.9, epsilon: float = 1e-8,
    centered: bool = False, mu: float = 0.0, nesterov: bool = False,
) -> Iterator[Any]:  # fmt: skip
    """``n <- rho n + (1 - rho) g^2``, ``u = g / (sqrt(n - m^2) + epsilon)``, see the library."""
    n = m = v = 0.0
    while True:
        g = gradient(p)
        n = rho * n + (1 - rho) * g**2
        m = rho * m + (1 - rho) * g if centered else 0.0
        u = g / (np.sqrt(np.maximum(n - m**2, 0)) + epsilon)
        v = mu * v + u
        p = p - eta * (u + mu * v if nesterov else v)
        yield p


# %% [markdown]
# **AdaDelta** measures its own steps too: s is the running mean of their squares. A step is as long
# as the last ones were, times the ratio of g to its usual size. It has the unit of a weight, and
# needs no learning rate: eta is 1. But s starts at zero, and the first steps are tiny: it takes
# long to get going. Here we treat eta like any other learning rate and see which one serves best.


# %%
def adadelta(
    gradient: Gradient, p: Any, eta: float, rho: float = 0.9, epsilon: float = 1e-6
) -> Iterator[Any]:
    """``d = g sqrt(s + epsilon) / sqrt(n + epsilon)``, ``p <- p - eta d``"""
    n = s = 0.0
    while True:
        g = gradient(p)
        n = rho * n + (1 - rho) * g**2
        d = g * np.sqrt(s + epsilon) / np.sqrt(n + epsilon)
        s = rho * s + (1 - rho) * d**2
        p = p - eta * d
        yield p


# %% [markdown]
# **Adam** keeps both: m, a running mean of the gradients, like momentum, and v, one of their
# squares, like RMSProp, but over a thousand steps. Both start at zero, which is why they are
# divided by 1 - beta^t: the first step is as long as the learning rate. It swings like momentum and
# sets out along the diagonal like AdaGrad. **AdamW** also shrinks the weights by a part eta *
# weight_decay in each step. Its paths bend towards zero, wherever the minimum is.


# %%
def adam(
    gradient: Gradient, p: Any, eta: float, beta_1: float = 0.9, beta_2: float = 0.999,
    epsilon: float = 1e-8, weight_decay: float = 0.0,
) -> Iterator[Any]:  # fmt: skip
    """``p <- p - eta (m / (1 - beta_1^t)) / (sqrt(v / (1 - beta_2^t)) + epsilon)``"""
    m = v = 0.0
    for t in count(1):
        g = gradient(p)
        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g**2
        m_hat, v_hat = m / (1 - beta_1**t), v / (1 - beta_2**t)
        p = (1 - eta * weight_decay) * p - eta * m_hat / (np.sqrt(v_hat) + epsilon)
        yield p


OPTIMIZERS: dict[
    str, tuple[Any, Any, dict[str, Any]]
] = {  # in the library, by hand, options of both
    "gradient descent": (sr.gradient_descent, gradient_descent, {}),
    "momentum": (sr.momentum, momentum, {}),
    "Nesterov": (sr.nesterov_momentum, nesterov_momentum, {}),
    "AdaGrad": (sr.adagrad, adagrad, {}),
    "AdaDelta": (sr.adadelta, adadelta, {}),
    "RMSProp": (sr.rmsprop, rmsprop, {}),
    "RMSProp centred": (sr.rmsprop, rmsprop, {"centered": True}),
    "RMSProp Nesterov": (sr.rmsprop, rmsprop, {"mu": 0.9, "nesterov": True}),
    "Adam": (sr.adam, adam, {}),
    "AdamW": (sr.adamw, adam, {"weight_decay": 0.01}),
}

# %% [markdown]
# ## 2. An optimizer and a surface, each compiled once
#
# An optimizer wants a gradient, and does not care where it comes from. So the gradient is an input
# here: one compiled function for each optimizer and one for each surface, and any optimizer walks
# on any surface. (In training both are one function: `optimizer(loss, params, learning_rate)`
# instead of `optimizer([g], ...)`.)
#
# Learning rate, weights and state are shared variables. To try another learning rate we set them,
# and compile nothing. The state is what else the optimizer wants to update: the keys of its
# dictionary.


# %%
class Walker:
    """An optimizer as a compiled function, to be sent down a surface with any learning rate."""

    def __init__(
        self,
        optimizer: Any,
        start: Any,
        mode: Any,
        clip: float | None = None,
        schedule: Any = lambda t, eta: eta,
        **options: Any,
    ) -> None:
        self.w = pytensor.shared(np.array(start), name="w")
        self.eta = pytensor.shared(1.0, name="eta")
        t = sr.schedules.step_counter()
        g = self.w.type("g")
        gradients = [g] if clip is None else sr.clip_by_global_norm([g], clip)
        changes = optimizer(gradients, [self.w], schedule(t, self.eta), **options)
        changes |= sr.schedules.advance(t)
        self.at_start = {variable: variable.get_value() for variable in changes}
        self.step = sr.function([g], changes[self.w], updates=changes, mode=mode)

    def walk(
        self, surface: Any, learning_rate: float, n_steps: int, start: Any = None
    ) -> tuple[Any, Any]:
        """Return the costs, from the start to the end, and the weights, (n_steps + 1, 2)."""
        for variable, value in self.at_start.items():
            variable.set_value(value)
        if start is not None:
            self.w.set_value(np.array(start))
        self.eta.set_value(learning_rate)
        path = [self.w.get_value()]
        cost, g = surface(path[0])
        costs = [cost]
        for _ in range(n_steps):
            path.append(self.step(g))
            cost, g = surface(path[-1])
            costs.append(cost)
            if not np.all(cost < DIVERGED):
                break
        return np.array(costs), np.array(path)


DIVERGED = 1e7  # a cost from which no path comes back


# %% [markdown]
# The first surface is the bowl f(x, y) = x^2/20 + y^2, from (-7, 2). It is twenty times steeper
# across than along. `...` lets w be one point or many: what is done elementwise can be done to all
# at once, and part 5 walks 200 times at once.


# %%
def turn(degrees: float) -> Any:
    """Return the matrix that turns a point: ``w @ turn(45)``."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, s], [-s, c]])


def bowl(n_axes: int, mode: Any, degrees: float = 0) -> Any:
    """Return a function w -> f and its gradient; w has shape (2,) or (walks, 2)."""
    w = pt.tensor("w", shape=(None,) * n_axes, dtype="float64")
    xy = w @ turn(-degrees)
    f = xy[..., 0] ** 2 / 20 + xy[..., 1] ** 2
    return sr.function([w], [f, pytensor.grad(f.sum(), w)], mode=mode)


BOWL_START = (-7.0, 2.0)

# %% [markdown]
# The second is the cost of lesson 2's bit counter: two weights, ten steps of recurrence, the sum
# of squared errors over twenty samples. Here it is made from the library's cell, and `givens` puts
# the two elements of w in the place of the cell's weights.


# %%
def bit_counting_surface(X: Any, t: Any, mode: Any) -> Any:
    """Return a function w -> cost and its gradient; w is (w_x, w_rec)."""
    cell = sr.LinearCell(1, 1, W_x=[[0.0]], W_h=[[0.0]], bias=False)
    _, state = sr.unroll(cell, X[:, :, None])  # state.h: (samples, 1)
    cost = ((state.h[:, 0] - t) ** 2).sum()
    gradients = pytensor.grad(cost, cell.params)
    w = pt.dvector("w")
    return sr.function(
        [w],
        [cost, pt.concatenate([g.flatten() for g in gradients])],
        givens={p: w[i].reshape((1, 1)) for i, p in enumerate(cell.params)},
        mode=mode,
    )


W_X, W_REC = np.linspace(-0.5, 2.5, 120), np.linspace(-0.5, 1.5, 120)  # what the figures show


def bit_counting_cost(X: Any, t: Any, w_x: Any, w_rec: Any) -> Any:
    """Return the same cost on a grid (w_rec, w_x), from y = w_x * sum over t of x_t w_rec^(T-t)."""
    powers = w_rec[:, None] ** np.arange(len(X))[::-1]  # (w_rec, time)
    y = w_x[:, None] * (powers @ X)[:, None]  # (w_rec, w_x, samples)
    return ((y - t) ** 2).sum(axis=-1)


# %% [markdown]
# ## 3. The bowl
#
# Which learning rate is fair? Each optimizer gets its own: the best of a scan with eight learning
# rates to a power of ten. A learning rate settles at the highest f in the last third of the steps,
# so that a lucky moment counts for nothing, and the best is the one that settles lowest. A path
# that ever climbs above its start is out: in a bowl it may still come back, on a cliff it would
# not.


# %%
def settled(costs: Any, n_steps: int) -> float:
    """Return the highest cost in the last third of the steps; inf if it was above the start."""
    if len(costs) <= n_steps or costs.max() > costs[0] * (1 + 1e-9):
        return np.inf
    return float(costs[-(n_steps // 3) :].max())


def scan_learning_rates(
    walker: Walker, surface: Any, learning_rates: Any, n_steps: int, start: Any = None
) -> Any:
    """Return what each learning rate settles at."""
    return np.array(
        [
            settled(walker.walk(surface, learning_rate, n_steps, start)[0], n_steps)
            for learning_rate in learning_rates
        ]
    )


def powers_of_ten(learning_rates: Any, ends: Any) -> float:
    """Return how many powers of ten the learning rates span that settle below 1."""
    return float((ends < 1).sum() * np.log10(learning_rates[1] / learning_rates[0]))


def best(learning_rates: Any, ends: Any) -> float:
    """Return the learning rate with the lowest end."""
    return float(learning_rates[np.argmin(ends)])


def steps_until(costs: Any, level: float) -> str:
    """Return the first step whose cost is below the level, or a dash."""
    below = np.flatnonzero(np.asarray(costs) < level)
    return str(below[0]) if len(below) else "-"


def difference_from_hand(name: str, gradient: Gradient, learning_rate: float, path: Any) -> float:
    """Return the largest difference between a walker's path and the loop's of part 1."""
    _, by_hand, options = OPTIMIZERS[name]
    own = list(islice(by_hand(gradient, path[0], learning_rate, **options), len(path) - 1))
    return float(np.abs(path[1:] - np.array(own)).max())


def on_the_bowl(walkers: dict[str, Walker], learning_rates: Any, mode: Any) -> dict[str, Any]:
    """Scan the learning rates, walk with the best; return all that is found."""
    surface, turned = bowl(1, mode), bowl(1, mode, 45)
    started = perf_counter()
    ends = {
        name: scan_learning_rates(w, surface, learning_rates, 30, BOWL_START)
        for name, w in walkers.items()
    }
    seconds = perf_counter() - started
    print(
        f"   {len(learning_rates)} learning rates for {len(walkers)} optimizers, 30 steps each: "
        f"{seconds:.1f} s"
    )
    chosen = {name: best(learning_rates, e) for name, e in ends.items()}
    print(
        f"   {'optimizer':<16} learning rate  f after 30  after 100  f < .01 at  "
        "good learning rates   turned  by hand"
    )
    found: dict[str, Any] = {"ends": ends, "learning_rates": chosen, "costs": {}, "paths": {}}
    found |= {"turned": {}, "hand": {}}
    for name, walker in walkers.items():
        costs, path = walker.walk(surface, chosen[name], 100, BOWL_START)
        off = difference_from_hand(name, lambda w: surface(w)[1], chosen[name], path)
        start = BOWL_START @ turn(45)
        learning_rate = best(
            learning_rates, scan_learning_rates(walker, turned, learning_rates, 30, start)
        )
        f_turned = walker.walk(turned, learning_rate, 30, start)[0][30]
        print(
            f"   {name:<16} {chosen[name]:>13.3g} {costs[30]:>11.2g} {costs[100]:>10.2g} "
            f"{steps_until(costs, 0.01):>11} "
            f"{powers_of_ten(learning_rates, ends[name]):>20.2f} {f_turned:>8.2g} {off:>8.0e}"
        )
        for key, value in (("costs", costs), ("paths", path), ("turned", f_turned), ("hand", off)):
            found[key][name] = value
    return found


# %% [markdown]
# What you see in the table and in the panels:
#
# - Gradient descent zigzags, since 0.75 is nearly too much for the steep direction (1 would be) and
#   still little for the flat one. It needs 36 steps to f < 0.01.
# - Momentum swings, Nesterov's swings less: they first get below 0.01 after 24 and 22 steps, and
#   swing out again. Adam swings too, and needs 50: after 30 it is behind gradient descent.
# - AdaGrad, AdaDelta and all kinds of RMSProp need 5 to 12 steps. Their first step is equally long
#   in both directions, steep or flat. So is Adam's. But its velocity carries it past the minimum,
#   and with its best learning rate the first step is only 0.316 long. Most of the others have no
#   velocity and take longer strides. (RMSProp with Nesterov's momentum has one. It runs past the
#   minimum too, but is soon back.)
# - But look at f after 100 steps. RMSProp's steps do not get shorter, and it hops about at f = 0.1.
#   AdaDelta even climbs, to 3.1: its steps feed on themselves. Its best learning rate is 422, far
#   from the paper's 1, with which it hardly moves within 30 steps. AdaGrad's steps get shorter: it
#   stays.
# - "good learning rates": how many powers of ten of learning rates settle below f = 1. Gradient
#   descent has 0.62; RMSProp with momentum, Adam and AdamW have 1.62. With ten times its best
#   learning rate Adam still settles; gradient descent does not with twice its best. That is one
#   reason why Adam is the first choice of many, though it is not the fastest here.
# - AdamW's decay pulls towards zero, where this bowl happens to have its minimum. That is a gift.
#
# One more warning. This bowl lies along the axes, and optimizers that divide each weight's gradient
# by its own size can undo such a stretch. "turned" is f after 30 steps on the same bowl turned by
# 45 degrees, again with the best learning rate. Gradient descent and momentum do not notice.
# AdaGrad is at 0.053 instead of 3e-21, behind gradient descent's 0.023, and RMSProp at 0.0077.
#
# "by hand" is the largest difference, over 100 steps, between the compiled optimizer and the loop
# of part 1.


# %%
def draw_walks(
    a: Any, b: Any, cost: Any, walks: dict[str, tuple[float, Any]], names: tuple[str, str],
    minimum: tuple[float, float],
) -> Any:  # fmt: skip
    """Return a figure with one panel for each walk, given as learning rate and path."""
    figure, axes = plt.subplots(2, 5, figsize=(14, 5.6), sharex=True, sharey=True)
    figure.subplots_adjust(left=0.06, right=0.99, bottom=0.1, top=0.95, wspace=0.08, hspace=0.16)
    levels = np.geomspace(max(cost.min(), cost.max() * 1e-8), cost.max(), 24)
    for ax, (name, (learning_rate, path)) in zip(axes.flat, walks.items(), strict=True):
        ax.contourf(a, b, cost, levels, norm=LogNorm(), cmap="Blues", extend="min", alpha=0.8)
        ax.plot(*path.T, ".-", color="#b7500f", linewidth=0.8, markersize=3)
        ax.plot(*path[0], "o", color="k", markersize=5)
        ax.plot(*minimum, "*", color="w", markeredgecolor="k", markersize=11)
        ax.set(xlim=(a[0], a[-1]), ylim=(b[0], b[-1]))
        ax.set_title(f"{name}, learning rate {learning_rate:.3g}", fontsize=10)
    figure.supxlabel(names[0])
    figure.supylabel(names[1], x=0.005)
    return figure


def draw_learning_rates(learning_rates: Any, ends: dict[str, Any]) -> Any:
    """Return a figure: what each learning rate settles at, with a dot at the best."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), sharey=True, layout="constrained")
    for i, (name, values) in enumerate(ends.items()):
        ax = axes[i // 5]
        shown = np.where(np.isfinite(values), np.maximum(values, 1e-8), np.nan)
        (line,) = ax.plot(learning_rates, shown, label=name)
        k = int(np.argmin(values))
        ax.plot(learning_rates[k], shown[k], "o", color=line.get_color())
    for ax in axes:
        ax.set(xscale="log", yscale="log", xlabel="learning rate")
        ax.grid(alpha=0.3)
        ax.legend(loc="lower left", fontsize="small")
    axes[0].set(ylabel="highest f in steps 21 to 30, at least 1e-8")
    figure.suptitle(
        "lines end where the path climbs above its start; dots are the chosen learning rates"
    )
    return figure


# %% [markdown]
# ## 4. Bit counting
#
# Lesson 2 showed why this surface is hard. From the start a gentle slope leads to a curved valley;
# the gradient's norm is 153. Behind the valley stands a wall, since w_rec is multiplied with itself
# ten times: at (1, 1.4) the norm is 205762. On the valley's floor, where gradient descent ends, it
# is 2.2. A learning rate that suits one place does not suit the others. The scan is as above, over
# 300 epochs.


# %%
def on_bit_counting(
    walkers: dict[str, Walker], surface: Any, start: Any, learning_rates: Any, epochs: int
) -> dict[str, Any]:
    """Scan the learning rates, walk with the best; return all that is found."""
    print(
        f"   {'optimizer':<16} learning rate  cost < 1 at  settles at  good learning rates"
        "  w_x, w_rec at the end"
    )
    found: dict[str, Any] = {"ends": {}, "learning_rates": {}, "costs": {}, "paths": {}}
    for name, walker in walkers.items():
        ends = scan_learning_rates(walker, surface, learning_rates, epochs, start)
        learning_rate = best(learning_rates, ends)
        costs, path = walker.walk(surface, learning_rate, epochs, start)
        print(
            f"   {name:<16} {learning_rate:>13.2g} {steps_until(costs, 1):>12} {ends.min():>11.2g} "
            f"{powers_of_ten(learning_rates, ends):>20.2f} {path[-1][0]:>10.4f} {path[-1][1]:.4f}",
            flush=True,
        )
        for key, value in (
            ("ends", ends),
            ("learning_rates", learning_rate),
            ("costs", costs),
            ("paths", path),
        ):
            found[key][name] = value
    return found


# %% [markdown]
# - Gradient descent is careful and slow: it reaches the valley in 80 epochs, creeps along its
#   floor, and is not there after 300.
# - Momentum and Adam fly past the minimum, along the valley to w_x = 2 or so, swing between its
#   walls, and roll back along the floor: there the velocity adds up. They settle lowest, at 3.4e-05
#   and 5.5e-07. Adam does well over 2.13 powers of ten of learning rates. Momentum does over 0.38
#   only, and its 3.4e-05 is one lucky learning rate: in part 5 a warm-up turns it into 0.28.
# - Nesterov's momentum settles at 0.23 only, but it does well over 1.00 powers of ten.
# - AdaGrad is the first to get below 1, after 10 epochs, and slows down beside the minimum.
# - RMSProp walks straight to the valley, then hops across it: 0.32, or 0.23 if it is centred. With
#   Nesterov's momentum it takes about a seventh of the learning rate, so the hops are shorter:
#   0.038.
# - AdaDelta settles below 1 with no learning rate: its steps are too short at first and, once
#   grown, too long for the valley.
# - AdamW keeps up with Adam until its decay tells: it pulls w towards zero, the minimum is at
#   (1, 1), and it settles at 0.00018.
#
# Now clipping. If the gradient's norm is above a limit, the gradient is scaled down to it: the
# direction stays, and the stride is at most learning rate times limit. We start gradient descent on
# the slope as before, and on the wall at (1, 1.4).


# %%
WALL = (1.0, 1.4)
CLIPS = {"plain": None, "clip 100": 100.0, "clip 1": 1.0}


def clipping(
    surface: Any, starts: dict[str, Any], learning_rates: Any, epochs: int, mode: Any
) -> dict[str, dict[str, Any]]:
    """Scan learning rates with and without clipping, from each start; return the ends."""
    found: dict[str, dict[str, Any]] = {}
    for how, norm in CLIPS.items():
        walker = Walker(sr.gradient_descent, starts["slope"], mode, clip=norm)
        found[how] = {}
        for where, point in starts.items():
            ends = found[how][where] = scan_learning_rates(
                walker, surface, learning_rates, epochs, point
            )
            good = learning_rates[ends < 1]
            print(
                f"   {how:<8} from the {where}: {listed(good)} settle below 1; "
                f"the best, {best(learning_rates, ends):.2g}, at {ends.min():.2g}"
            )
        if norm is not None:
            k = np.argmin(abs(learning_rates * norm - 0.0075))
            print(
                f"   {how:<8} with a longest stride of {learning_rates[k] * norm:.2g}: settles at "
                + " and ".join(f"{ends[k]:.2g} from the {w}" for w, ends in found[how].items())
            )
        both = learning_rates[np.maximum(*found[how].values()) < 1]
        print(f"   {how:<8} from both: {listed(both)}")
    return found


def listed(learning_rates: Any) -> str:
    """Return how many learning rates there are, and the lowest and highest."""
    if not len(learning_rates):
        return "no learning rates"
    low, high = learning_rates[0], learning_rates[-1]
    return f"{len(learning_rates)} learning rates ({low:.2g} to {high:.2g})"


def draw_clipping(
    surface: Any,
    cost: Any,
    starts: dict[str, Any],
    learning_rates: Any,
    epochs: int,
    found: Any,
    mode: Any,
) -> Any:
    """Return a figure: paths from slope and wall, and what each learning rate settles at."""
    figure, axes = plt.subplots(1, 2, figsize=(13, 4.8), layout="constrained")
    colours = dict(zip(CLIPS, ("tab:blue", "tab:orange", "k"), strict=True))
    lines = dict(zip(starts, ("-", ":"), strict=True))
    learning_rate = best(learning_rates, found["plain"]["slope"])
    plots.cost_surface(W_X, W_REC, cost, ax=axes[0], names=("w_x", "w_rec"))
    for how, where in (("plain", "slope"), ("plain", "wall"), ("clip 100", "wall")):
        walker = Walker(sr.gradient_descent, starts["slope"], mode, clip=CLIPS[how])
        path = walker.walk(surface, learning_rate, epochs, starts[where])[1]
        axes[0].plot(*path.T, color="w", linewidth=4)
        label = f"{how}, from the {where}"
        axes[0].plot(*path.T, lines[where], color=colours[how], linewidth=2, label=label)
        axes[0].plot(*path[0], "o", color=colours[how], markeredgecolor="w", markersize=7)
        axes[0].plot(*path[-1], "X", color=colours[how], markeredgecolor="w", markersize=9)
    axes[0].plot(1, 1, "*", color="w", markeredgecolor="k", markersize=12, zorder=5)
    axes[0].set(title=f"gradient descent, learning rate {learning_rate:.2g}")
    axes[0].set(xlim=(W_X[0], W_X[-1]), ylim=(W_REC[0], W_REC[-1]))
    axes[0].legend(loc="lower right")
    for how, ends in found.items():
        for where, values in ends.items():
            shown = np.where(np.isfinite(values), values, np.nan)
            label, style = f"{how}, from the {where}", "o" + lines[where]
            axes[1].plot(
                learning_rates, shown, style, color=colours[how], markersize=3, label=label
            )
    axes[1].axhline(1, color="k", linewidth=0.5)
    axes[1].set(
        xscale="log",
        yscale="log",
        xlabel="learning rate",
        title="what each learning rate settles at",
    )
    axes[1].set(ylabel="highest cost in the last third")
    axes[1].grid(alpha=0.3)
    axes[1].set_ylim(bottom=1e-4)
    axes[1].legend(fontsize="small", loc="lower right")
    return figure


# %% [markdown]
# Without clipping no learning rate does for both starts: those that get down the slope in time are
# 7 to 18 times as large as the wall allows, and there the first step throws the weights far below
# the valley. Clipped at 100, three learning rates do for both. That has a price. On the slope the
# norm is 153, so the strides are cut there too, to two thirds. The weights come down later, and
# from the slope the best learning rate settles at 0.34; without clipping it was 0.12.
#
# Clipped at 1, learning rates can be a hundred times as large. That is less of a gain than it
# sounds: the stride is learning rate times limit, and it has stayed the same. With a longest stride
# of 0.0075 both limits settle at 0.42 from the slope: they come down in the same strides, and late.
# From the wall one settles at 0.057, the other at 0.34, and each with its own best learning rate at
# 0.057 and 0.1. On the valley's floor a gradient of 2.2 passes the limit of 100 as it is, and
# strides get shorter with the gradients. The limit of 1 keeps the strides as they are, and the
# weights hop across the valley. So put the limit where gradients usually are, and let it cut off
# the exceptions.

# %% [markdown]
# ## 5. Schedules
#
# Minibatches make a gradient noisy. Here we add the noise ourselves, N(0, 1) to each part of the
# bowl's gradient, and walk 200 times at once: the weights are a matrix with one row for each walk.
# At a constant learning rate eta each weight ends in a jitter. If h is the curvature, a step turns
# its variance v into (1 - eta h)^2 v + eta^2. That is v again if v = eta / (h (2 - eta h)), and its
# part of f is h v / 2. A smaller learning rate has a lower floor, and takes longer to get there. A
# schedule begins with long strides and ends with short ones.

# %%
N_STEPS = 300
SCHEDULES: dict[str, Any] = {
    "constant 0.5": lambda t: sr.schedules.constant(t, 0.5),
    "constant 0.09": lambda t: sr.schedules.constant(t, 0.09),
    "step_decay": lambda t: sr.schedules.step_decay(t, 0.5, factor=0.5, every=60),
    "exponential": lambda t: sr.schedules.exponential(t, 0.5, factor=0.1, every=150),
    "natural_exponential": lambda t: sr.schedules.natural_exponential(t, 0.5, decay=1, every=60),
    "inverse_time": lambda t: sr.schedules.inverse_time(t, 0.5, decay=1, every=20),
    "cosine": lambda t: sr.schedules.cosine(t, 0.5, n_steps=N_STEPS),
    "warm_up of cosine": lambda t: sr.schedules.warm_up(
        t, sr.schedules.cosine(t, 0.5, n_steps=N_STEPS), n_steps=30
    ),
}


def expected_f(learning_rate: float, n_steps: int) -> float:
    """Mean of f at a constant learning rate: what is left of the start, and the jitter."""
    f = 0.0
    for h, start in zip((0.1, 2.0), BOWL_START, strict=True):
        left = (1 - learning_rate * h) ** (2 * n_steps)
        v = learning_rate / (h * (2 - learning_rate * h)) * (1 - left)
        f += h / 2 * (left * start**2 + v)
    return f


def with_noise(rng: np.random.Generator, n_walks: int, mode: Any) -> dict[str, Any]:
    """Walk down the noisy bowl with every schedule; return f, (steps + 1, walks), and more."""
    exact = bowl(2, mode)

    def noisy(w: Any) -> Any:
        f, g = exact(w)
        return f, g + rng.normal(size=g.shape)

    t = pt.lscalar("t")
    all_learning_rates = sr.function([t], [make(t) for make in SCHEDULES.values()], mode=mode)
    learning_rates = np.array([all_learning_rates(step) for step in range(N_STEPS)])
    found: dict[str, Any] = {
        "f": {},
        "learning_rates": dict(zip(SCHEDULES, learning_rates.T, strict=True)),
    }
    print(f"   {'schedule':<20}  last learning rate  median of f at 30  at the end  its quartiles")
    for name, make in SCHEDULES.items():
        starts = np.tile(BOWL_START, (n_walks, 1))
        walker = Walker(
            sr.gradient_descent, starts, mode, schedule=lambda t, eta, make=make: make(t)
        )
        f, _ = walker.walk(noisy, 1.0, N_STEPS)
        low, middle, high = np.percentile(f[-1], [25, 50, 75])
        print(
            f"   {name:<20} {found['learning_rates'][name][-1]:>19.5f} {np.median(f[30]):>18.3f} "
            f"{middle:>11.4f}  {low:.4f} to {high:.4f}"
        )
        found["f"][name] = f
    late = found["f"]["constant 0.5"][N_STEPS // 2 :].mean()
    print(
        f"   constant 0.5: mean of f in the second half {late:.3f}, "
        f"expected {expected_f(0.5, N_STEPS):.3f}"
    )
    constant = min(
        np.arange(0.01, 1, 0.01), key=lambda learning_rate: expected_f(learning_rate, N_STEPS)
    )
    print(f"   the best constant learning rate for {N_STEPS} steps should be {constant:.2f}")
    return found


def draw_schedules(found: dict[str, Any]) -> Any:
    """Return a figure: all learning rates, and median and quartiles of f for some of them."""
    figure, axes = plt.subplots(1, 2, figsize=(12, 4.6), layout="constrained")
    colours = dict(zip(SCHEDULES, plt.colormaps["tab10"].colors, strict=False))
    for name, learning_rates in found["learning_rates"].items():
        line = "--" if name.startswith("warm_up") else "-"
        axes[0].plot(learning_rates, line, color=colours[name], label=name)
    for name in ("constant 0.5", "constant 0.09", "inverse_time", "cosine"):
        low, middle, high = np.percentile(found["f"][name], [25, 50, 75], axis=1)
        axes[1].fill_between(range(N_STEPS + 1), low, high, color=colours[name], alpha=0.2)
        axes[1].plot(middle, color=colours[name], label=name)
    floor = expected_f(0.5, N_STEPS)
    axes[1].axhline(floor, color="k", linestyle=":", linewidth=1, label="expected mean at 0.5")
    axes[0].set(title="the schedules", ylabel="learning rate")
    axes[1].set(title="f with noisy gradients: median, quartiles", yscale="log", ylabel="f")
    for ax in axes:
        ax.set(xlabel="step")
        ax.grid(alpha=0.3)
        ax.legend(fontsize="small")
    return figure


# %% [markdown]
# The constant learning rate 0.5 arrives within 50 steps and stays at its floor. Its mean there is
# 0.376, and 0.378 was expected. f is skewed: a few walks are far out, so its median lies below its
# mean, at 0.299 in the end. From here on we compare medians. The best constant learning rate for
# 300 steps, 0.09 by the same reckoning, ends at 0.040. All schedules end between 0.014 and 0.022,
# two to three times lower. They hardly differ from each other: their quartiles overlap widely. What
# matters is that the learning rate is large first and small last.
#
# A warm-up lets the learning rate grow at first. It is made for nets whose first gradients mislead.
# Does it help the bit counter, where the first gradients are small and the later ones huge? We scan
# the learning rates again, with a warm-up of 30 epochs.


# %%
def warming_up(
    surface: Any, start: Any, learning_rates: Any, epochs: int, without: dict[str, Any], mode: Any
) -> dict[str, Any]:
    """Scan the learning rates again with a warm-up; return what each learning rate settles at."""
    found = {}
    for name in ("momentum", "AdaGrad", "Adam"):
        optimizer, _, options = OPTIMIZERS[name]
        walker = Walker(
            optimizer,
            start,
            mode,
            schedule=lambda t, eta: sr.schedules.warm_up(t, eta, n_steps=30),
            **options,
        )
        found[name] = scan_learning_rates(walker, surface, learning_rates, epochs)
        for how, ends in (("without", without[name]), ("with", found[name])):
            print(
                f"   {name:<9} {how:<7} warm-up: {(ends < 1).sum()} of {len(learning_rates)} "
                "learning rates settle below 1, "
                f"best {best(learning_rates, ends):.2g}: {ends.min():.2g}"
            )
    return found


# %% [markdown]
# It does not. As many learning rates settle as without, one more or one less. The best results get
# better for AdaGrad and worse for momentum and Adam, but each comes from a single learning rate of
# the scan. What a schedule is worth depends on the problem: measure it.


# %%
def main(
    mode: str | None = None, seed: int = 1, figures: str = "figures", quick: bool = False
) -> dict[str, Any]:
    """Run the lesson; return what its parts found."""
    with pytensor.config.change_flags(floatX="float64"):
        return lesson(mode or ("QUICK" if quick else "CVM"), seed, figures, quick)


def lesson(mode: Any, seed: int, figures: str, quick: bool) -> dict[str, Any]:
    """Do what `main` says."""
    folder = _lesson.figure_folder(figures, quick)

    print("1., 2. Ten optimizers, each compiled once", flush=True)
    started = perf_counter()
    walkers = {
        name: Walker(optimizer, BOWL_START, mode, **options)
        for name, (optimizer, _, options) in OPTIMIZERS.items()
    }
    print(f"   {perf_counter() - started:.1f} s")

    print("\n3. The bowl", flush=True)
    learning_rates = 10.0 ** (np.arange(-1, 3) if quick else np.arange(-3, 3.01, 0.125))
    on_bowl = on_the_bowl(walkers, learning_rates, mode)
    x, y = np.linspace(-9, 9, 120), np.linspace(-3, 3, 80)
    walks = {
        name: (on_bowl["learning_rates"][name], path[:31])
        for name, path in on_bowl["paths"].items()
    }
    figure = draw_walks(
        x, y, x**2 / 20 + y[:, None] ** 2 + 1e-6, walks, ("x, 30 steps", "y"), (0, 0)
    )
    _lesson.save_figure(figure, folder, "10_bowl_paths")
    _lesson.save_figure(
        draw_learning_rates(learning_rates, on_bowl["ends"]), folder, "10_bowl_learning_rates"
    )

    print("\n4. Bit counting", flush=True)
    legacy = np.random.RandomState(1)  # data and start of lesson 2
    X, t = bit_counting(rng=legacy)
    start = tuple(legacy.uniform(-0.1, 0.1, size=2))
    surface, epochs = bit_counting_surface(X, t, mode), 6 if quick else 300
    learning_rates = 10.0 ** (np.arange(-5, 0) if quick else np.arange(-6, 1.01, 0.125))
    cost = bit_counting_cost(X, t, W_X, W_REC)
    on_bits = on_bit_counting(walkers, surface, start, learning_rates, epochs)
    walks = {
        name: (on_bits["learning_rates"][name], path) for name, path in on_bits["paths"].items()
    }
    figure = draw_walks(W_X, W_REC, cost, walks, (f"w_x, {epochs} epochs", "w_rec"), (1, 1))
    _lesson.save_figure(figure, folder, "10_bit_counting_paths")
    starts = {"slope": start, "wall": WALL}
    for where, point in starts.items():
        size = np.linalg.norm(surface(np.array(point))[1])
        print(f"   norm of the gradient where it starts on the {where}: {size:.0f}")
    size = np.linalg.norm(surface(on_bits["paths"]["gradient descent"][-1])[1])
    print(f"   norm of the gradient where gradient descent ended: {size:.1f}")
    clipped = clipping(surface, starts, learning_rates, epochs, mode)
    figure = draw_clipping(surface, cost, starts, learning_rates, epochs, clipped, mode)
    _lesson.save_figure(figure, folder, "10_clipping")

    print("\n5. Schedules", flush=True)
    noisy = with_noise(np.random.default_rng(seed), 20 if quick else 200, mode)
    _lesson.save_figure(draw_schedules(noisy), folder, "10_schedules")
    warm = warming_up(surface, start, learning_rates, epochs, on_bits["ends"], mode)
    _lesson.show_figures()
    return {"bowl": on_bowl, "bits": on_bits, "clipping": clipped, "noisy": noisy, "warm": warm}


if __name__ == "__main__":
    _lesson.run(
        main,
        help={
            "mode": "how PyTensor compiles (default: CVM, since all is tiny; with --quick QUICK)",
            "seed": "of the noise",
            "figures": "folder for the figures",
            "quick": "few learning rates and few steps",
        },
    )
