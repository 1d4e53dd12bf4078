"""Lesson 7: vanishing and exploding gradients - how far back in time a loss is heard

What you learn
    Why the gradient of a recurrent net shrinks or grows with each step back, and what the singular
    values of W_h have to do with it. What clipping does, by norm and by value. How the memory of an
    LSTM carries the gradient over many steps, and what its forget gate does to it.

What you should see
    Six numbered parts with a few numbers each, and four figures: 07_singular_values.png,
    07_clipping.png, 07_carousel.png and 07_recall.png.

How long it takes (measured on two cores)
    50 seconds, with nothing compiled before. With --quick 6 seconds.

What you need to know
    NumPy, and lessons 0 to 4.

The file is a script and a notebook: editors that know `# %%` cells open it as one. There, run the
cells from the top; the last one runs the whole lesson.
"""

# %%
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy: small products, one thread

from typing import Any

import _lesson
import matplotlib.pyplot as plt
import numpy as np
import pytensor
import pytensor.tensor as pt

import symrnn as sr
from symrnn import explain, initializers

# %% [markdown]
# ## 1. A long product
#
# An Elman net computes h_t = phi(z_t) with z_t = x_t W_x + h_{t-1} W_h. What a loss at the last
# step T says reaches step t through all steps between:
#
#     dL/dh_{t-1} = (dL/dh_t * phi'(z_t)) W_h^T
#
# Each step back multiplies with the derivatives phi' and with W_h^T. How much longer or shorter a
# product with a matrix can make a vector, its singular values tell: the largest and the smallest of
# them are the limits. A rotation has all of them equal to 1. If all singular values of W_h are s,
# as for s times a rotation, then the product with W_h^T makes every vector s times as long. With
# phi(z) = z this is all that happens, and
#
#     |dL/dh_t| = s^(T-t) |dL/dh_T|
#
# exactly. At s = 0.8, one hundred steps leave 2e-10 of it; at s = 1.25 they make 5e9 times as much.
# There is little room between the two.

SCALES = (0.8, 1.0, 1.25)


# %%
def elman_flow(activation: str, W_h: Any, n_steps: int) -> Any:
    """|dL/dh_t| for each step t of an Elman net whose loss is the sum of its last state."""
    x = pt.dtensor3("x")
    cell = sr.ElmanCell(1, len(W_h), rng=np.random.default_rng(0), activation=activation, W_h=W_h)
    h, _ = sr.unroll(cell, x)
    value = np.random.default_rng(1).normal(size=(n_steps, 4, 1))
    return explain.gradient_flow(h[-1].sum(), h, {x: value})


def singular_values(
    rng: np.random.Generator, n_steps: int, activations: Any
) -> dict[str, dict[str, Any]]:
    """The flow for activations and sizes of W_h; for the linear net beside the formula."""
    rotation = initializers.orthogonal(rng, (16, 16))
    found: dict[str, dict[str, Any]] = {}
    for activation in activations:
        found[activation] = {
            f"s = {s}": elman_flow(activation, s * rotation, n_steps) for s in SCALES
        }
    steps_back = np.arange(n_steps)[::-1]
    errors = []
    for s in SCALES:
        flow = found["identity"][f"s = {s}"]
        errors.append(np.abs(flow / (s**steps_back * flow[-1]) - 1).max())
    print(f"  linear: largest relative difference from s^(T-t): {max(errors):.1e}")
    for activation, flows in found.items():
        factors = [(f[0] / f[-1]) ** (1 / (n_steps - 1)) for f in flows.values()]
        told = ", ".join(f"{f:.3f} at {s}" for f, s in zip(factors, flows, strict=True))
        print(f"  {activation:<8} each step back multiplies by {told}")
    return found


# %% [markdown]
# ## 2. Squashing makes it smaller
#
# The derivative of tanh is 1 at zero and less elsewhere, that of sigmoid at most 1/4. So tanh nets
# vanish even with s = 1, and whether one with s = 1.25 vanishes or explodes depends on how far its
# units are from zero. For sigmoid all three vanish at once: that is one reason why tanh is the
# usual choice. ReLU passes the gradient of those units unchanged that are above zero, and nothing
# of the others.
#
# A random matrix has singular values of all sizes. In the long run its largest eigenvalue counts:
# a product of many W_h grows with it. For 100 units with standard deviation 1 / sqrt(100) the
# largest eigenvalue is about 1, while the singular values reach from 0 to 2.


# %%
def random_matrix(rng: np.random.Generator, n_steps: int) -> Any:
    """The flow of a linear net with a random W_h; prints what its size tells."""
    n = 100
    W_h = initializers.normal(rng, (n, n), std=1 / np.sqrt(n))
    radius = abs(np.linalg.eigvals(W_h)).max()
    singular = np.linalg.svd(W_h, compute_uv=False)
    flow = elman_flow("identity", W_h, n_steps)
    early, late = flow[0], flow[n_steps // 2]
    factor = (early / late) ** (1 / (n_steps // 2))
    print(f"  random W_h: singular values {singular.min():.3f} to {singular.max():.2f},", end=" ")
    print(f"largest eigenvalue {radius:.3f}; each step back multiplies by {factor:.3f}")
    return flow


def draw_flows(found: dict[str, dict[str, Any]], state: str = "h", title: str = "phi = {}") -> Any:
    """One panel for each group of flows, over the steps."""
    figure, axes = plt.subplots(
        1, len(found), figsize=(3.3 * len(found), 3.6), sharey=True, layout="constrained",
        squeeze=False,
    )  # fmt: skip
    axes = axes[0]
    for ax, (name, flows) in zip(axes, found.items(), strict=True):
        for label, flow in flows.items():
            line = "--" if label == "no gates" else "-"  # where it lies on another one
            steps = np.arange(len(flow))
            ax.semilogy(
                steps, np.maximum(flow, 1e-20), line, label=label, zorder=2 + (line == "--")
            )
        ax.set(xlabel="step t", title=title.format(name), ylim=(1e-12, 1e12))
        ax.grid(alpha=0.3)
    axes[0].set(ylabel=f"|dL/d{state}_t| of a loss at the last step")
    axes[0].legend()
    return figure


# %% [markdown]
# ## 3. Where gradients explode there is a cliff
#
# A net with one unit and no input (Pascanu et al., 2013):
#
#     h_t = sigmoid(w h_{t-1} + b)      50 steps from h_0 = 0.5      L = (h_50 - 0.7)^2
#
# For some w and b a small change decides whether h goes up or down, and 50 steps make a large
# difference of it. There the loss has a cliff and the gradient is huge. Gradient descent that comes
# upon it is thrown far away by one step. A clipped step is short, whatever the gradient.


# %%
START, LEARNING_RATE, LIMIT = (5.5, -2.2), 0.1, 1.0


def cliff(n_steps: int) -> dict[str, Any]:
    """Return the paths (steps, 2) of gradient descent over w and b: as it is, and clipped."""
    w, b = pytensor.shared(0.0, name="w"), pytensor.shared(0.0, name="b")
    h = pytensor.scan(
        lambda h, w, b: pt.sigmoid(w * h + b),
        outputs_info=[pt.constant(0.5, dtype="float64")],
        non_sequences=[w, b],
        n_steps=50,
        strict=True,
        return_updates=False,
    )
    loss = (h[-1] - 0.7) ** 2
    gradients = pytensor.grad(loss, [w, b])
    clips = {
        "not clipped": gradients,
        "clipped by norm": sr.clip_by_global_norm(gradients, LIMIT),
        "clipped by value": sr.clip_by_value(gradients, LIMIT),
    }
    paths = {}
    for name, clipped in clips.items():
        updates = sr.gradient_descent(clipped, [w, b], LEARNING_RATE)
        step = sr.function([], [loss, *gradients], updates=updates)
        for p, value in zip((w, b), START, strict=True):
            p.set_value(value)
        path, longest = [START], 0.0
        for _ in range(n_steps):
            last_loss, *g = step()
            longest = max(longest, float(np.hypot(*g)))
            path.append((float(w.get_value()), float(b.get_value())))
        paths[name] = np.array(path)
        print(
            f"  {name:<16} longest gradient {longest:6.1f}, after {n_steps} steps "
            f"w {path[-1][0]:.2f}, b {path[-1][1]:.2f}, loss {last_loss:.4f}"
        )
    return paths


def loss_in_numpy(w: Any, b: Any) -> Any:
    """The same loss for whole grids of w and b."""
    h: Any = 0.5
    for _ in range(50):
        h = 1 / (1 + np.exp(-(w * h + b)))
    return (h - 0.7) ** 2


# %% [markdown]
# ## 4. By norm or by value
#
# `clip_by_global_norm` makes all gradients together as long as the limit, if they are longer: the
# step has the same direction. `clip_by_value` cuts each number by itself: simple, but the direction
# changes, up to the diagonal where all numbers are at the limit. The right panel shows a gradient
# and what both make of it.


# %%
def directions() -> dict[str, Any]:
    """A gradient, and what it is after clipping; prints the angles between."""
    g = [pt.constant(np.array([6.0, 1.0]))]
    values = {
        "gradient": g[0].data,
        "by norm": sr.function([], sr.clip_by_global_norm(g, LIMIT)[0])(),
        "by value": sr.function([], sr.clip_by_value(g, LIMIT)[0])(),
    }
    for name, v in values.items():
        cosine = v @ values["gradient"] / np.linalg.norm(v) / np.linalg.norm(values["gradient"])
        angle = np.degrees(np.arccos(min(1.0, cosine)))
        print(f"  {name:<9} ({v[0]:.2f}, {v[1]:.2f}): length {np.linalg.norm(v):.2f}, ", end="")
        print(f"turned by {angle:.0f} degrees")
    return values


def draw_clipping(paths: dict[str, Any], arrows: dict[str, Any]) -> Any:
    """The cliff with the paths; a gradient before and after clipping."""
    figure, axes = plt.subplots(
        1, 2, figsize=(11, 4.5), width_ratios=(1.6, 1), layout="constrained"
    )
    w, b = np.linspace(3.8, 6, 221), np.linspace(-3, -1.8, 201)
    loss = np.log10(loss_in_numpy(w, b[:, None]) + 1e-5)
    image = axes[0].pcolormesh(w, b, loss, cmap="Greys", rasterized=True)
    figure.colorbar(image, ax=axes[0], label="log10 of the loss")
    for (name, path), colour in zip(
        paths.items(), ("tab:red", "tab:blue", "tab:orange"), strict=True
    ):
        width = 3 if name == "not clipped" else 1  # it lies below the others up to the cliff
        axes[0].plot(*path.T, ".-", color=colour, label=name, linewidth=width, markersize=3)
    axes[0].plot(*START, "o", color="black")
    axes[0].text(3.83, -1.98, "valley (white)", fontsize="small", color="white")
    axes[0].set(xlabel="w", ylabel="b", xlim=(3.8, 6), ylim=(-3, -1.8), title="a cliff")
    axes[0].legend(loc="upper right")
    for (name, v), colour in zip(
        arrows.items(), ("tab:red", "tab:blue", "tab:orange"), strict=True
    ):
        axes[1].annotate("", v, (0, 0), arrowprops={"color": colour, "width": 1.5, "headwidth": 7})
        axes[1].plot([], [], color=colour, label=name)
    axes[1].add_patch(plt.Circle((0, 0), LIMIT, fill=False, color="tab:blue", linestyle=":"))
    axes[1].add_patch(plt.Rectangle((-1, -1), 2, 2, fill=False, color="tab:orange", linestyle=":"))
    axes[1].set(xlim=(-1.3, 6.3), ylim=(-2, 2.5), aspect="equal", title="a gradient, clipped at 1")
    axes[1].legend()
    return figure


# %% [markdown]
# ## 5. The carousel
#
# The memory of an LSTM is made by a sum, c_t = f_t * c_{t-1} + i_t * g_t, so
#
#     dL/dc_{t-1} = dL/dc_t * f_t + what comes through h_{t-1} and the gates
#
# The first term has no W_h and no derivative of tanh in it. Without a forget gate (the cell of
# 1997) it is dL/dc_t itself, unchanged over any number of steps: the constant error carousel. With
# a forget gate it is multiplied by f_t. With bias 0 the gate starts at 1/2, worse than tanh; with
# bias 1, the usual start, at 0.73; with bias 3 at 0.95.
#
# Left: W_h = 0, so that only the first term is there. Right: the whole, with W_h as cells start.
# What comes through the gates is added. It can make gradients grow: the carousel keeps them from
# vanishing, but not from exploding. LSTMs are trained with clipping, too.

# %%
CAROUSELS: dict[str, Any] = {
    "no gates": ("", None),
    "no forget gate": ("io", None),
    "forget bias 0": ("ifo", 0.0),
    "forget bias 1": ("ifo", 1.0),
    "forget bias 3": ("ifo", 3.0),
}


def lstm(name: str, rng: np.random.Generator, n_in: int = 1) -> sr.LSTMCell:
    """One of the cells above."""
    gates, bias = CAROUSELS[name]
    cell = sr.LSTMCell(n_in, 16, rng=rng, gates=gates)
    if bias is not None:
        set_forget_bias(cell, bias)
    return cell


def set_forget_bias(cell: sr.LSTMCell, bias: float) -> None:
    """Set the bias of the forget gate, the second of four."""
    b = cell.b.get_value()
    b[16:32] = bias
    cell.b.set_value(b)


def carousel(seed: int, n_steps: int, cells: Any) -> dict[str, dict[str, Any]]:
    """|dL/dc_t| for the sum of the last memory as loss."""
    found: dict[str, dict[str, Any]] = {"W_h = 0": {}, "W_h as it starts": {}}
    value = np.random.default_rng(1).normal(size=(n_steps, 4, 1))
    for title, flows in found.items():
        for name in cells:
            cell = lstm(name, np.random.default_rng(seed))
            if title == "W_h = 0":
                cell.W_h.set_value(0 * cell.W_h.get_value())
            x = pt.dtensor3("x")
            _, state = sr.unroll(cell, x)
            flow = flows[name] = explain.gradient_flow(state.c.sum(), state.c, {x: value})
            factor = (flow[0] / flow[-1]) ** (1 / (n_steps - 1))
            print(f"  {title:<17} {name:<15} each step back multiplies by {factor:.3f}")
    return found


# %% [markdown]
# ## 6. What it means for learning
#
# A task that is easy except for the waiting: the first input is +1 or -1, then comes noise, and at
# the end the net has to say which it was. Nets with different starts, each with a few seeds, get
# the same 300 steps (Adam, which lesson 10 explains, and clipping at 1). For each start the factor
# of one step back is printed first, measured on this task before training. It is nearer to 1 than
# in parts 1 and 5, since the noise is smaller here and units are less far from zero.
#
# A few steps of waiting all nets learn. Through 100 steps those learn best whose factor is about 1:
# the Elman net with s = 1.25 and the LSTM with forget bias 3. Where it is smaller the gradient
# arrives too weak, and more runs stay at chance, the LSTM with forget bias 0 already after 30
# steps. The factor does not decide alone: it changes in training, and Adam divides a gradient by
# its usual size, which helps small ones. (Other seeds make single runs change sides.) For tasks
# with long waits one lets the forget gate start well open.

# %%
WAITS = (10, 30, 100)


def recall_data(rng: np.random.Generator, n_steps: int, batch: int = 32) -> tuple[Any, Any]:
    """Return x (time, batch, 1), and whether its first entry was positive."""
    x = 0.2 * rng.normal(size=(n_steps, batch, 1))
    t = rng.integers(2, size=(batch, 1))
    x[0] = 2 * t - 1
    return x, t.astype(float)


class Recaller(sr.Module):
    """A cell with an output, compiled once; its weights are set anew for each run."""

    def __init__(self, cell: sr.Cell, mode: Any) -> None:
        x, t = pt.dtensor3("x"), pt.dmatrix("t")
        rng = np.random.default_rng(0)
        self.cell, self.output = cell, sr.Dense(16, 1, rng=rng)
        _, self.state = sr.unroll(cell, x)
        self.x = x
        logits = self.output(self.state.h)  # sigmoid makes probabilities of them
        loss = sr.binary_cross_entropy(logits, t)
        right = pt.eq(logits > 0, t > 0.5).mean()
        gradients = sr.clip_by_global_norm(pytensor.grad(loss, self.params), 1.0)
        updates = sr.adam(gradients, self.params, 0.01)
        # the underscore keeps the optimizer's state out of the weights of the Module
        self._optimizer_state = [v for v in updates if v not in self.params]
        self.start = [p.get_value() for p in self.params]
        self.step = sr.function([x, t], [loss, right], updates=updates, mode=mode)

    def restart(self, rng: np.random.Generator, setting: float) -> None:
        """Set new weights, with the scale of W_h or the forget bias; forget earlier steps."""
        for p, value in zip(self.params, self.start, strict=True):
            if p is self.cell.W_h:
                blocks = range(value.shape[1] // len(value))
                value = np.concatenate(
                    [initializers.orthogonal(rng, (16, 16)) for _ in blocks], axis=1
                )
            elif value.ndim == 2:
                value = rng.normal(size=value.shape) / np.sqrt(value.shape[0])
            p.set_value(value)
        for v in self._optimizer_state:
            v.set_value(0 * v.get_value())
        if isinstance(self.cell, sr.LSTMCell):
            set_forget_bias(self.cell, setting)
        else:
            self.cell.W_h.set_value(setting * self.cell.W_h.get_value())

    def factor(self, x: Any) -> float:
        """Return by how much each step back multiplies |dL/dh_t|, or |dL/dc_t| of an LSTM."""
        state = self.state[-1]
        flow = explain.gradient_flow(state.sum(), state, {self.x: x})
        return float((flow[0] / flow[-1]) ** (1 / (len(flow) - 1)))


def recall(waits: Any, n_steps: int, seed: int, seeds: int, mode: Any) -> dict[str, Any]:
    """Accuracy in the last tenth of the steps, (waits, seeds), by start."""
    elman = Recaller(sr.ElmanCell(1, 16, rng=np.random.default_rng(0)), mode)
    gated = Recaller(sr.LSTMCell(1, 16, rng=np.random.default_rng(0)), mode)
    print(f"  {'':<20} factor  accuracy in % after {waits} steps of waiting: mean (worst-best)")
    starts: dict[str, tuple[Recaller, float]] = {
        **{f"Elman, s = {s}": (elman, s) for s in SCALES},
        **{f"LSTM, forget bias {b:.0f}": (gated, b) for b in (0.0, 1.0, 3.0)},
    }
    found = {}
    for name, (net, setting) in starts.items():
        accuracies, factors = np.zeros((len(waits), seeds)), []
        for i, j in np.ndindex(accuracies.shape):
            rng = np.random.default_rng([seed, j])
            net.restart(rng, setting)
            if i == len(waits) - 1:
                factors.append(net.factor(recall_data(rng, waits[i])[0]))
            right = [net.step(*recall_data(rng, waits[i]))[1] for _ in range(n_steps)]
            accuracies[i, j] = np.mean(right[-max(1, n_steps // 10) :])
        found[name] = accuracies
        told = "  ".join(
            f"{100 * r.mean():5.1f} ({100 * r.min():3.0f}-{100 * r.max():3.0f})" for r in accuracies
        )
        print(f"  {name:<20} {np.mean(factors):5.2f}   {told}", flush=True)
    return found


def draw_recall(found: dict[str, Any], waits: Any) -> Any:
    """One point for each run: the accuracy over the time of waiting."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
    for ax, kind in zip(axes, ("Elman", "LSTM"), strict=True):
        chosen = {name: runs for name, runs in found.items() if name.startswith(kind)}
        for k, (name, accuracies) in enumerate(chosen.items()):
            at = np.array(waits) * 1.06 ** (k - 1)  # side by side
            ax.plot(at, 100 * accuracies.mean(axis=1), color=f"C{k}", alpha=0.5)
            for j, run in enumerate(accuracies.T):  # a little apart, or equal ones look like one
                ax.plot(at * 1.015 ** (j - 1), 100 * run, "o", color=f"C{k}", markersize=5)
            ax.plot([], [], "o-", color=f"C{k}", label=name.split(", ")[1])
        ax.axhline(50, color="grey", linestyle=":", label="chance")
        ax.set(xscale="log", xlabel="steps of waiting", title=kind, xticks=waits)
        ax.set_xticklabels(waits)
        ax.minorticks_off()
        ax.legend(loc="lower left")
    axes[0].set(ylabel="accuracy at the end, %", ylim=(0, 105))
    return figure


# %%
def main(
    mode: str | None = None,
    seed: int = 1,
    figures: str = "figures",
    quick: bool = False,
) -> dict[str, Any]:
    """Run the lesson; return what its parts found."""
    with pytensor.config.change_flags(floatX="float64"):
        return lesson(mode, seed, figures, quick)


def lesson(mode: Any, seed: int, figures: str, quick: bool) -> dict[str, Any]:
    """Do what `main` says."""
    folder = _lesson.figure_folder(figures, quick)
    n_steps = 20 if quick else 100
    print(f"1. The gradient of {n_steps} steps, and the singular values of W_h", flush=True)
    activations = ("identity",) if quick else ("identity", "tanh", "sigmoid", "relu")
    flows = singular_values(np.random.default_rng(seed), n_steps, activations)
    print("\n2. Squashing makes it smaller (see above), and a random matrix")
    flow = random_matrix(np.random.default_rng(seed), n_steps)
    flows["identity, W_h random"] = {"100 units": flow}
    _lesson.save_figure(draw_flows(flows), folder, "07_singular_values")

    print("\n3. A cliff", flush=True)
    paths = cliff(120 if quick else 400)
    print("\n4. By norm or by value")
    arrows = directions()
    _lesson.save_figure(draw_clipping(paths, arrows), folder, "07_clipping")

    print("\n5. The carousel", flush=True)
    cells = ("no forget gate", "forget bias 1") if quick else CAROUSELS
    carousels = carousel(seed, n_steps, cells)
    _lesson.save_figure(draw_flows(carousels, "c", "{}"), folder, "07_carousel")

    print("\n6. What it means for learning", flush=True)
    waits = (5, 10) if quick else WAITS
    recalled = recall(waits, 10 if quick else 300, seed, 1 if quick else 3, mode)
    _lesson.save_figure(draw_recall(recalled, waits), folder, "07_recall")
    _lesson.show_figures()
    return {
        "flows": flows,
        "random": flow,
        "paths": paths,
        "arrows": arrows,
        "carousels": carousels,
        "recall": recalled,
    }


if __name__ == "__main__":
    _lesson.run(
        main,
        help={
            "seed": "of the weights",
            "figures": "folder for the figures",
            "quick": "fewer and shorter steps",
        },
    )
