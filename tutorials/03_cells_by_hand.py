"""Lesson 3: cells by hand - Elman, LSTM and GRU from their equations; a custom backward pass

What you learn
    To write the three classic cells as raw `scan` graphs and to recognise them in the library.
    Which matrix products belong into the loop and which do not, how the gradient runs back through
    time, and why the library's backward pass is faster than the one that `pytensor.grad` finds.
    What gates are good for. To make a cell of your own in ten lines.

What you should see
    Ten numbered parts. Wherever two ways lead to one result, the largest difference is printed; in
    float64 it stays below 1e-12. Three figures: 03_backward_pass.png, 03_times.png and
    03_gates.png.

How long it takes (measured on two cores)
    10 seconds, with nothing compiled before.

What you need to know
    NumPy, and lessons 0 to 2.

The file is a script and a notebook: editors that know `# %%` cells open it as one. There, run the
cells from the top; the last one runs the whole lesson.
"""

# %%
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy: one thread, or times jump about

import re
import time
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import _lesson
import matplotlib.pyplot as plt
import numpy as np
import pytensor
import pytensor.tensor as pt
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from pytensor.graph.traversal import ancestors
from pytensor.scan.op import Scan

import symrnn as sr
from symrnn import explain
from symrnn.kernels.recurrence import LoopOp

# What every scan here is given: no second result, nothing forgotten, always a list (lesson 01).
SAFE: dict[str, Any] = {"return_updates": False, "strict": True, "return_list": True}

# %% [markdown]
# ## 1. What is compiled and compared
#
# Each cell will be unrolled over a sequence x (time, batch, features) in three ways: by hand, and
# with the library's `unroll` with either of its two backward passes. The weights are the same
# shared variables. Each way becomes a function that returns the outputs h of all steps, and the
# gradients of a cost for which no targets are needed:
#
#     C = 1/2 * (sum of all h_t^2)
#
# All sizes are symbolic. So the functions compiled here for a few small numbers are the ones that
# are timed with large matrices further down.


# %%
class Compiled(NamedTuple):
    """A cell, and functions x -> [h, gradients of the cell's params ...] that unroll it."""

    cell: Any
    ways: dict[str, Any]


def compile_way(x: Any, states: list[Any], params: list[Any], mode: str) -> Any:
    """Compile x -> [h of all steps, gradients of C with respect to params, other states]."""
    h, *other = states
    gradients = pytensor.grad((h**2).sum() / 2, params)
    return sr.function([x], [h, *gradients, *other], mode=mode)


def compile_cell(cell: Any, mode: str, by_hand: Callable[..., list[Any]] | None = None) -> Compiled:
    """Compile all ways for a cell."""
    x = pt.tensor3("x")  # (time, batch, n_in)
    graphs = {} if by_hand is None else {"by hand": by_hand(x, *cell.params)}
    graphs["scan"] = [sr.unroll(cell, x, implementation="scan")[0]]
    graphs["kernel"] = [sr.unroll(cell, x, implementation="kernel")[0]]
    ways = {way: compile_way(x, states, cell.params, mode) for way, states in graphs.items()}
    return Compiled(cell, ways)


def largest_difference(some: list[Any], others: list[Any]) -> float:
    """Return the largest difference of h and gradients; fail if it is more than rounding."""
    pairs = zip(some, others, strict=False)  # by hand the LSTM also returns c, the library does not
    difference = max(float(np.abs(a - b).max()) for a, b in pairs)
    assert difference < (1e-12 if some[0].dtype == np.float64 else 1e-5), difference
    return difference


def as_text(array: Any) -> str:
    """Return an array as text, four digits behind the point."""
    return np.array2string(array, precision=4, suppress_small=True, prefix="  ")


def compare(compiled: Compiled, x: Any) -> float:
    """Run all ways on x, print h of the first sample, and how much the ways differ."""
    name = type(compiled.cell).__name__
    first, *others = (way(x) for way in compiled.ways.values())
    print(f"{name}, h of the first sample, one row a step:")
    print("  " + as_text(first[0][:, 0]))
    difference = max(largest_difference(first, other) for other in others)
    print(f"  by hand and by the library, h and gradients differ by at most {difference:.1e}")
    return difference


# %% [markdown]
# ## 2. Elman
#
#     z_t = x_t W_x + h_{t-1} W_h + b
#     h_t = tanh(z_t)                        h_0 = 0
#
# The step is the equation. In the code x_t is (batch, n_in) and h (batch, n_hidden): a row for each
# sample, so weights stand on the right.


# %%
def elman_by_hand(x: Any, W_x: Any, W_h: Any, b: Any) -> list[Any]:
    """Return [h] of all steps, (time, batch, n_hidden)."""

    def step(x_t, h, W_x, W_h, b):
        return pt.tanh(x_t @ W_x + h @ W_h + b)

    zeros = pt.zeros((x.shape[1], W_h.shape[0]))  # (batch, n_hidden)
    return pytensor.scan(
        step, sequences=[x], outputs_info=[zeros], non_sequences=[W_x, W_h, b], **SAFE
    )


# %% [markdown]
# ## 3. LSTM
#
# Beside its output h an LSTM has a memory c. Three gates, numbers between 0 and 1, say what is
# written into it, what stays there, and what of it is shown:
#
#     i_t = sigmoid(x_t W_xi + h_{t-1} W_hi + b_i)         input gate
#     f_t = sigmoid(x_t W_xf + h_{t-1} W_hf + b_f)         forget gate
#     g_t = tanh(x_t W_xg + h_{t-1} W_hg + b_g)            candidate
#     o_t = sigmoid(x_t W_xo + h_{t-1} W_ho + b_o)         output gate
#     c_t = f_t * c_{t-1} + i_t * g_t
#     h_t = o_t * tanh(c_t)
#
# The four sums have one form. So the matrices stand side by side, W_x = [W_xi W_xf W_xg W_xo], two
# products make all of them, and z is cut into four.


# %%
def gates_of(z: Any, n_gates: int) -> list[Any]:
    """Cut the columns of z into equal parts, one for each gate."""
    n = z.shape[-1] // n_gates
    return [z[..., k * n : (k + 1) * n] for k in range(n_gates)]


def lstm_by_hand(x: Any, W_x: Any, W_h: Any, b: Any) -> list[Any]:
    """Return [h, c] of all steps."""

    def step(x_t, h, c, W_x, W_h, b):
        i, f, g, o = gates_of(x_t @ W_x + h @ W_h + b, 4)
        c = pt.sigmoid(f) * c + pt.sigmoid(i) * pt.tanh(g)
        return [pt.sigmoid(o) * pt.tanh(c), c]

    zeros = pt.zeros((x.shape[1], W_h.shape[0]))
    return pytensor.scan(
        step, sequences=[x], outputs_info=[zeros, zeros], non_sequences=[W_x, W_h, b], **SAFE
    )


# %% [markdown]
# ## 4. GRU
#
# A GRU has no memory beside its output. One gate u says how much of the old output stays, and what
# does not stay is replaced; the reset gate r says how much of it the candidate n may see:
#
#     r_t = sigmoid(x_t W_xr + b_r + h_{t-1} W_hr)                   reset gate
#     u_t = sigmoid(x_t W_xu + b_u + h_{t-1} W_hu)                   update gate
#     n_t = tanh(x_t W_xn + b_n + r_t * (h_{t-1} W_hn + b_hn))       candidate
#     h_t = (1 - u_t) * n_t + u_t * h_{t-1}
#
# r stands between the two halves of n's sum, so the parts from x and from h are kept apart. (In the
# paper r_t multiplies h_{t-1} before the product. Behind the product, one product is enough for
# all gates.)


# %%
def gru_by_hand(x: Any, W_x: Any, W_h: Any, b: Any, b_hn: Any) -> list[Any]:
    """Return [h] of all steps."""

    def step(x_t, h, W_x, W_h, b, b_hn):
        x_r, x_u, x_n = gates_of(x_t @ W_x + b, 3)
        h_r, h_u, h_n = gates_of(h @ W_h, 3)
        r, u = pt.sigmoid(x_r + h_r), pt.sigmoid(x_u + h_u)
        n = pt.tanh(x_n + r * (h_n + b_hn))
        return (1 - u) * n + u * h

    zeros = pt.zeros((x.shape[1], W_h.shape[0]))
    return pytensor.scan(
        step, sequences=[x], outputs_info=[zeros], non_sequences=[W_x, W_h, b, b_hn], **SAFE
    )


# %% [markdown]
# In the library a cell's step gets the sums z and is only what comes after them: `LSTMCell.step`
# has the last three lines of the equations. Everything else is written once for all cells, in
# `unroll`.
#
# ## 5. The backward pass, by hand
#
# How does C change with the sum z_t of an Elman cell? Write dz_t for dC/dz_t and so on. h_t has two
# effects on C: directly, dC/dh_t = h_t, and through z_{t+1}, which contains h_t W_h. So
#
#     dh_t = h_t + dz_{t+1} W_h^T             (at the last step h_t alone)
#     dz_t = dh_t * (1 - h_t^2)               since tanh' = 1 - tanh^2
#
# from the last step to the first. The weights are used in every step, so their gradients are sums:
#
#     dW_h = sum_t h_{t-1}^T dz_t      dW_x = sum_t x_t^T dz_t      db = sum_t dz_t
#
# The point is this: no step of the loop needs these sums. Put the h_{t-1} of all steps under each
# other, (time * batch) rows, and the dz_t likewise: dW_h is ONE product of the two, after the loop.


# %%
def elman_gradients(x: Any, W_x: Any, W_h: Any, b: Any) -> list[Any]:
    """Return h, and the gradients of C with respect to W_x, W_h and b, in NumPy."""
    h = np.zeros((len(x) + 1, x.shape[1], len(W_h)))  # h[0] is the start
    for t, x_t in enumerate(x):
        h[t + 1] = np.tanh(x_t @ W_x + h[t] @ W_h + b)

    dz, from_later = np.zeros_like(h[1:]), 0.0
    for t in reversed(range(len(x))):
        dh = h[t + 1] + from_later  # h[t + 1] is the output of step t
        dz[t] = dh * (1 - h[t + 1] ** 2)
        from_later = dz[t] @ W_h.T

    def rows(a):
        return a.reshape(-1, a.shape[-1])  # (time * batch, features)

    return [h[1:], rows(x).T @ rows(dz), rows(h[:-1]).T @ rows(dz), rows(dz).sum(axis=0)]


def gradient_by_hand(elman: Compiled, x: Any) -> dict[str, float]:
    """Print how far NumPy's gradients are from those of PyTensor."""
    by_hand = elman_gradients(x, *(w.get_value() for w in elman.cell.params))
    print("dW_h in NumPy:")
    print("  " + as_text(by_hand[2]))
    differences = {}
    for way in ("scan", "kernel"):
        result = elman.ways[way](x)
        differences[way] = largest_difference(result, by_hand)
        print(f'  pytensor.grad through implementation="{way}" differs by {differences[way]:.1e}')
    return differences


# %% [markdown]
# ## 6. Why x @ W_x leaves the loop
#
# x_t W_x does not depend on the state. So all steps can be put under each other here too: one
# product before the loop, and the step only adds its row of the result. The numbers are the same.
# In the cells by hand x @ W_x stands in the loop, in the library before it.
#
# To see what a compiled function does in its loops, we count the matrix products in one step of
# each: the first loop is the forward pass, the second one the backward pass. With x @ W_x in the
# loop the backward pass has four: dz_t W_h^T, which flows on; h_{t-1}^T dz_t and x_t^T dz_t for the
# gradients of the weights; and dz_t W_x^T, the gradient of x_t, which nobody has asked for (CVM and
# NUMBA throw it away, the other modes leave it in). With z as a sequence the last two are
# not there: the backward scan collects dz_t, and dW_x is one product after it. But `pytensor.grad`
# does not see that dW_h could be had in the same way.
#
# *What to notice:* fewer products, but not always less time. What one long product gains over many
# short ones depends on how wide x is beside h, and z now has to be stored for all steps. With
# narrow inputs, or in mode NUMBA, where a call costs little, the two can cancel out.


# %%
def elman_product_outside(x: Any, W_x: Any, W_h: Any, b: Any) -> list[Any]:
    """Return [h] of all steps, with x W_x computed at once."""

    def step(z_t, h, W_h):
        return pt.tanh(z_t + h @ W_h)

    n_steps, batch, n_in = x.shape
    z = x.reshape((n_steps * batch, n_in)) @ W_x + b  # (time * batch, n_hidden)
    z = z.reshape((n_steps, batch, W_h.shape[0]))
    zeros = pt.zeros((batch, W_h.shape[0]))
    return pytensor.scan(step, sequences=[z], outputs_info=[zeros], non_sequences=[W_h], **SAFE)


def products_in_loops(function: Any) -> list[int]:
    """Return how many matrix products one step of each loop of a compiled function makes."""
    loops = []
    for node in function.maker.fgraph.toposort():
        if isinstance(node.op, LoopOp):  # a kernel: the scan that it stands for
            graph = node.op.scan([v.type() for v in node.inputs])
            loops += [v.owner for v in ancestors(graph) if v.owner and isinstance(v.owner.op, Scan)]
        elif isinstance(node.op, Scan):
            loops.append(node)
    steps = [loop.op.fgraph.toposort() for loop in dict.fromkeys(loops)]
    return [
        sum(bool(re.search("dot|gemm|matmul|product", str(n.op), re.I)) for n in step)
        for step in steps
    ]


N_STEPS, BATCH, N_IN, N_HIDDEN = 50, 16, 128, 64  # for all that is timed or drawn to scale


def grow(cell: Any, rng: np.random.Generator) -> None:
    """Give a cell large new weights: its compiled functions work with any sizes."""
    new = type(cell)(N_IN, N_HIDDEN, rng=rng)
    for w, new_w in zip(cell.params, new.params, strict=True):
        w.set_value(new_w.get_value())


def milliseconds(function: Any, x: Any, repeats: int) -> float:
    """Return the time of the fastest of several calls."""
    times = []
    for _ in range(repeats + 1):  # the first call may still compile something
        start = time.perf_counter()
        function(x)
        times.append(time.perf_counter() - start)
    return 1000 * min(times[1:])


def product_leaves_the_loop(elman: Compiled, x: Any, large_x: Any, repeats: int, mode: str) -> None:
    """Compare both forms of the raw scan; the Elman cell is large afterwards."""
    symbol = pt.tensor3("x")
    outside = compile_way(
        symbol, elman_product_outside(symbol, *elman.cell.params), elman.cell.params, mode
    )
    inside = elman.ways["by hand"]
    print(f"both forms differ by {largest_difference(inside(x), outside(x)):.1e}")
    grow(elman.cell, np.random.default_rng(0))
    print("h and gradients of a large sequence:")
    for where, function in (("in", inside), ("before", outside)):
        forward, backward = products_in_loops(function)
        needed = milliseconds(function, large_x, repeats)
        print(f"  x @ W_x {where:<6} the loop: products in one step forward {forward}, ", end="")
        print(f"backward {backward}; {needed:6.2f} ms")


# %% [markdown]
# ## 7. What the custom backward pass does
#
# The picture shows `implementation="kernel"`. Forward, each step has one product, h_{t-1} W_h, and
# remembers what was expensive: the values of tanh and sigmoid. The backward pass visits the same
# steps from the last to the first. A backward step takes dh_t from the step after it and adds
# dC/dh_t. From that and from the remembered values it makes dz_t, which is cheap, because the
# derivatives of tanh and sigmoid are 1 - y^2 and y (1 - y): no tanh is computed twice. Then comes
# its one product, dz_t W_h^T, and that is what flows on. (So it is for an Elman cell. Where a step
# also uses its old state outside of the product, as u * h in a GRU or f * c in an LSTM, that part
# of the gradient flows on beside it.) The weights' gradients wait until all dz_t are there.
#
# `pytensor.grad` makes a correct second loop too, without knowing what a recurrent layer is. That
# loop has more to do in each step: for LSTM and GRU it computes the gates again from the states, as
# scan remembers outputs and not what is inside a step, and it adds h_{t-1}^T dz_t to dW_h each
# time, a product as large as the others.
#
# The formulas for dz_t are not written anywhere in the library: PyTensor derives them from the
# cell's step. Only the plan around them is.
#
# The matrices at the bottom are drawn to scale. A processor is busy in a large product and mostly
# waits in a small one. What remains in the loop is what cannot leave it: each step needs the one
# before.


# %%
BLUE, ORANGE, GREEN, GREY = "#2b6cb0", "#b7500f", "#2f7a4f", "#4a5568"


def draw_backward_pass() -> Any:
    """Return a figure of both passes of the loop, and of the products, to scale."""
    figure = plt.figure(figsize=(11.5, 9.2))
    ax = figure.add_axes((0, 0.37, 1, 0.63))
    ax.set(xlim=(0, 23), ylim=(0, 11.6))
    ax.axis("off")

    def write(x, y, text, colour="k", size=10.5, **how):
        ax.text(x, y, text, color=colour, size=size, **({"ha": "center", "va": "center"} | how))

    def arrow(tail, head, colour, **how):
        how = {"arrowstyle": "-|>", "mutation_scale": 14, "linewidth": 1.7} | how
        ax.add_patch(FancyArrowPatch(tail, head, color=colour, shrinkA=0, shrinkB=0, **how))

    def box(x, y, width, height, text, colour):
        corner = (x - width / 2, y - height / 2)
        shape = FancyBboxPatch(corner, width, height, boxstyle="round,pad=0,rounding_size=0.2")
        shape.set(facecolor="#fffaf0", edgecolor=colour, linewidth=1.5)
        ax.add_patch(shape)
        write(x, y, text)

    box(12.5, 10.9, 18.4, 0.9, "before the loop, one product:   $Z_x = X\\,W_x + b$", BLUE)
    box(12.5, 0.7, 18.4, 0.9, "after the loop, one product each:   "
        "$dW_h = H_{before}^T\\,dZ$      $dW_x = X^T\\,dZ$", ORANGE)  # fmt: skip
    write(0.4, 11.3, "Elman", GREY, 13, ha="left")
    write(0.4, 8.2, "forward", BLUE, 13, ha="left")
    write(0.4, 3.3, "backward", ORANGE, 13, ha="left")
    for t, x in enumerate((5.6, 12.5, 19.4), 1):
        box(x, 8.2, 4.2, 2.1, f"$z_{t} = z_{{x,{t}}} + h_{t - 1} W_h$\n"
            f"$h_{t} = \\mathrm{{step}}(z_{t})$", BLUE)  # fmt: skip
        dh = "dC/dh_3" if t == 3 else f"dC/dh_{t} + dz_{t + 1} W_h^T"
        box(x, 3.3, 4.2, 2.1, f"$dh_{t} = {dh}$\n$dz_{t}$ from $dh_{t}$", ORANGE)
        arrow((x, 10.45), (x, 9.25), BLUE)
        write(x + 0.3, 9.85, f"$z_{{x,{t}}}$", BLUE, ha="left")
        arrow((x, 7.15), (x, 4.35), GREEN, linestyle="--")
        write(x + 0.3, 5.75, "remembered:\nstate, tanh", GREEN, ha="left")
        arrow((x, 2.25), (x, 1.15), ORANGE)
        write(x + 0.3, 1.7, f"$dz_{t}$", ORANGE, ha="left")
        left = x - 2.1
        arrow((left - (2.7 if t > 1 else 1.1), 8.2), (left, 8.2), BLUE)
        write(left - (1.35 if t > 1 else 0.55), 8.6, f"$h_{t - 1}$", BLUE)
        if t > 1:
            arrow((left, 3.3), (left - 2.7, 3.3), ORANGE)
            write(left - 1.35, 3.75, f"$dz_{t} W_h^T$", ORANGE)

    ax = figure.add_axes((0.02, 0.0, 0.96, 0.36))
    rows, width = N_STEPS * BATCH, 4 * N_HIDDEN
    ax.set(ylim=(-530, 720), aspect="equal")
    ax.axis("off")
    write(0, 640, f"the products of an LSTM's layer, to scale: {N_STEPS} steps, batch {BATCH}, "
          f"{N_IN} inputs, {N_HIDDEN} hidden units", GREY, 11, ha="left")  # fmt: skip
    x = 0.0
    for title, colour, left, right, names in (
        ("before the loop, once", BLUE, (rows, N_IN), (N_IN, width), ("$X$", "$W_x$", "$Z_x$")),
        ("in the loop, each step", GREEN, (BATCH, N_HIDDEN), (N_HIDDEN, width),
         ("$h_{t-1}$", "$W_h$", "")),
        ("after the loop, once", ORANGE, (N_HIDDEN, rows), (rows, width),
         ("$H_{before}^T$", "$dZ$", "$dW_h$")),
    ):  # fmt: skip
        start = x
        shapes = (left, right, (left[0], right[1]))
        for (h, w), name, sign in zip(shapes, names, ("·", "=", ""), strict=True):
            ax.add_patch(Rectangle((x, -h / 2), w, h, facecolor=colour, alpha=0.3, edgecolor="k"))
            inside = min(h, w) > 100
            write(x + w / 2, 0 if inside else h / 2 + 55, name)
            write(x + w / 2, -h / 2 - 55, f"{h} x {w}", GREY, 9)
            write(x + w + 55, 0, sign, size=16)
            x += w + 110
        write((start + x - 110) / 2, 510, title, colour, 11)
        x += 120
    ax.set_xlim(-50, x - 180)
    return figure


# %% [markdown]
# ## 8. What it brings
#
# The functions from parts 2 to 4, with large weights: h and all gradients, the fastest of several
# calls.
#
# *What to notice:* the number of products says a lot, not all. In mode QUICK a step of a scan is a
# series of calls of NumPy, one after the other, so that fewer and larger operations pay. The
# kernel's loops are compiled to machine code, each as a whole; there the elementwise part of a
# step, tanh above all, counts as much as the products. It depends on the dtype: --dtype float32
# shows what training gains, since nets are mostly trained in float32. With --mode NUMBA the scans
# are compiled as well.


# %%
def time_all(cells: list[Compiled], x: Any, repeats: int) -> dict[str, dict[str, float]]:
    """Print and return milliseconds for each cell and way, with large weights."""
    times: dict[str, dict[str, float]] = {}
    print(f"{'':<11}{'':<10} products in a step\n{'':<22}forward  backward        ms")
    for cell, ways in cells:
        grow(cell, np.random.default_rng(0))
        name = type(cell).__name__
        times[name] = {way: milliseconds(function, x, repeats) for way, function in ways.items()}
        for way, needed in times[name].items():
            forward, backward = products_in_loops(ways[way])
            print(f"{name:<11}{way:<10} {forward:>7}  {backward:>8}  {needed:>8.2f}")
        gain = times[name]["scan"] / times[name]["kernel"]
        print(f"{'':<11}scan takes {gain:.1f} times as long as kernel")
    return times


def draw_times(times: dict[str, dict[str, float]], mode: str, dtype: str) -> Any:
    """Return a bar chart of the times, with numbers."""
    figure, ax = plt.subplots(figsize=(8.6, 4.6), layout="constrained")
    labels = {
        "by hand": "scan by hand, x @ W_x in the loop",
        "scan": 'unroll(implementation="scan"): x @ W_x before the loop',
        "kernel": 'unroll(implementation="kernel"): dW_h after the loop too',
    }
    for k, (way, colour) in enumerate(zip(labels, (GREY, BLUE, ORANGE), strict=True)):
        heights = [ways[way] for ways in times.values()]
        bars = ax.bar(np.arange(len(times)) + 0.27 * (k - 1), heights, 0.25, color=colour)
        bars.set_label(labels[way])
        ax.bar_label(bars, fmt="%.1f", padding=2, fontsize=10)
    ax.set_xticks(range(len(times)), list(times))
    ax.set(ylabel="ms for h and all gradients")
    ax.set_title(
        f"mode {mode}, {dtype}: {N_STEPS} steps, batch {BATCH}, {N_IN} inputs, "
        f"{N_HIDDEN} hidden units", fontsize=11,
    )  # fmt: skip
    ax.margins(y=0.32)
    ax.legend(loc="upper left")
    ax.spines[["top", "right"]].set_visible(False)
    return figure


# %% [markdown]
# ## 9. What gates are good for
#
# One unit shall remember a number. In each step a value comes in, and three flags that are 0 or 1:
# "write" says keep the value of this step, "clear" says forget, "read" says show what you have.
# Nothing has to be learnt here: we set the weights by hand. A sum of +10 opens a gate, one of -10
# shuts it, and sigmoid(10) = 0.99995.
#
#     i: 20 write - 10                       open when there is something to write
#     f: 10 - 20 write - 20 clear            open except then
#     g: value                               the candidate is always there: tanh(value)
#     o: 20 read - 10
#
# The GRU gets f's weights for its u, and the value for n. It has no output gate, so it shows what
# it has all the time. And what it forgets it must replace, by n: the clear flag works only where
# the value is 0. The first clear comes in such a step. In the second one the value is not 0, and
# the GRU holds it from then on. The LSTM has a gate for each of the two. (The GRU's candidate does
# not look at h here, so that r, which is 1/2, has nothing to do.)
#
# The Elman unit adds the value to what it has, h_t = tanh(value + h_{t-1}). Its flags could be
# added to the sum, too, but a sum cannot say "not now". A gate multiplies: that is what it is for.
#
# The gates of all steps come from x and from the h before each step, which the compiled function
# has returned: no loop is needed for them.


# %%
# one column a step          0    1    2    3    4    5    6    7    8    9
#                            10   11   12   13   14   15   16   17
LATCH = np.array([
    [0.3, -0.5, 0.8, -0.2, 0.6, -0.4, 0.3, 0.0, -0.7, 0.4,  # value
     -0.6, 0.3, -0.8, 0.5, 0.7, -0.3, 0.2, -0.5],
    [0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0],  # write
    [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0],  # clear
    [0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0],  # read
])  # fmt: skip

KEEP = (0.0, -20.0, -20.0, 0.0)  # weights of value, write, clear and read
LATCH_WEIGHTS: dict[str, dict[str, Any]] = {
    "ElmanCell": {"W_x": [(1, 0, 0, 0)], "b": [0]},
    "LSTMCell": {"W_x": [(0, 20, 0, 0), KEEP, (1, 0, 0, 0), (0, 0, 0, 20)], "b": [-10, 10, 0, -10]},
    "GRUCell": {"W_x": [(0, 0, 0, 0), KEEP, (1, 0, 0, 0)], "b": [0, 10, 0]},
}  # one row a gate


def sigmoid(z: Any) -> Any:
    """Between 0 and 1."""
    return 1 / (1 + np.exp(-z))


def run_latch(compiled: Compiled) -> dict[str, Any]:
    """Set the weights by hand; return the state and the gates over time, each (time,)."""
    cell, x = compiled.cell, LATCH.T[:, None, :]  # (time, 1, 4)
    name = type(cell).__name__
    values = {w.name: np.zeros((1,) * w.ndim) for w in cell.params}
    values |= {"W_x": np.transpose(LATCH_WEIGHTS[name]["W_x"]), "b": LATCH_WEIGHTS[name]["b"]}
    values["W_h"] = np.full((1, cell.n_gates), float(name == "ElmanCell"))
    for w in cell.params:
        w.set_value(np.asarray(values[w.name], dtype=w.dtype))
    h, *_, last = compiled.ways["by hand"](x.astype(cell.W_x.dtype))
    run = {"h": h.ravel()}

    h_before = np.concatenate([[0], run["h"][:-1]])
    z = LATCH.T @ values["W_x"] + values["b"] + h_before[:, None] @ values["W_h"]
    if name == "LSTMCell":
        i, f, g, o = z.T
        run["c"] = last.ravel()
        run |= {"i": sigmoid(i), "f": sigmoid(f), "g": np.tanh(g), "o": sigmoid(o)}
    if name == "GRUCell":
        r, u, n = z.T  # n's part from h is 0 here
        run |= {"r": sigmoid(r), "u": sigmoid(u), "n": np.tanh(n)}
    return run


def latch(elman: Compiled, lstm: Compiled, gru: Compiled) -> dict[str, dict[str, Any]]:
    """Print what each cell holds when it is read."""
    runs = {type(c.cell).__name__: run_latch(c) for c in (elman, lstm, gru)}
    value, write, clear, read = LATCH
    print("value in the last write, its tanh, and what the cells hold at the next read:")
    for t in np.flatnonzero(read):
        last = np.flatnonzero(write[:t])[-1]
        held = 0.0 if clear[last:t].any() else np.tanh(value[last])
        states = (runs["LSTMCell"]["c"], runs["GRUCell"]["h"], runs["ElmanCell"]["h"])
        c, gru_h, elman_h = (round(float(state[t]), 3) + 0.0 for state in states)  # no -0.000
        print(f"  step {t:>2}: value {value[last]:4.1f}, to be held {held:6.3f};  ", end="")
        print(f"LSTM c {c:6.3f}   GRU h {gru_h:6.3f}   Elman h {elman_h:6.3f}")
        assert abs(c - held) < 0.002
    return runs


# %% [markdown]
# In the picture below, *notice* the flat stretches of c between write and clear, while values come
# and go, and that h of the LSTM is 0 except where it is read.


# %%
def draw_gates(runs: dict[str, dict[str, Any]]) -> Any:
    """Return a figure: inputs, gates, memory and output of both cells over time."""
    figure, axes = plt.subplots(4, 2, figsize=(12, 9), sharex=True, layout="constrained")
    value, *flags = LATCH
    steps = np.arange(len(value))
    flag_colours = dict(zip(("write", "clear", "read"), (GREEN, "#c53030", BLUE), strict=True))

    def strips(ax, title, **gates):
        extent = (-0.5, len(steps) - 0.5, len(gates) - 0.5, -0.5)
        shades = {"cmap": "Greys", "vmin": 0, "vmax": 1.2}
        ax.imshow(list(gates.values()), aspect="auto", extent=extent, **shades)
        ax.set_yticks(range(len(gates)), list(gates))
        ax.hlines(np.arange(1, len(gates)) - 0.5, *extent[:2], color="w", linewidth=4)
        ax.set_title(f"{title}; white 0, shut; dark 1, open", loc="left", fontsize=11)

    def lines(ax, title, **curves):
        for k, (label, curve) in enumerate(curves.items()):
            style = {"color": (BLUE, ORANGE)[k], "linestyle": ("-", "--")[k]}
            ax.step(steps, curve, where="mid", linewidth=2.2, label=label, **style)
        ax.set_title(title, loc="left", fontsize=11)

    for ax in axes[0]:
        ax.bar(steps, value, 0.7, color="#a0aec0", label="value")
        for (name, colour), flag in zip(flag_colours.items(), flags, strict=True):
            at = np.flatnonzero(flag)
            ax.plot(at, np.full(len(at), 1.15), "v", color=colour, markersize=9, label=name)
    axes[0, 0].set_title("LSTM: what comes in", loc="left", fontsize=11)
    axes[0, 1].set_title("GRU: what comes in, the same", loc="left", fontsize=11)
    m, u, e = runs["LSTMCell"], runs["GRUCell"], runs["ElmanCell"]
    strips(axes[1, 0], "LSTM: gates", i=m["i"], f=m["f"], o=m["o"])
    lines(axes[2, 0], "LSTM: candidate and memory", **{"c": m["c"], "g": m["g"]})
    lines(axes[3, 0], "LSTM: output h = o * tanh(c)", h=m["h"])
    strips(axes[1, 1], "GRU: gates", u=u["u"], r=u["r"])
    lines(axes[2, 1], "GRU: candidate, and h, its memory and its output", h=u["h"], n=u["n"])
    lines(axes[3, 1], "for comparison: an Elman unit, which adds up all values", h=e["h"])
    for ax in axes[[0, 2, 3]].flat:
        for (_, colour), flag in zip(flag_colours.items(), flags, strict=True):
            for t in np.flatnonzero(flag):
                ax.axvspan(t - 0.5, t + 0.5, color=colour, alpha=0.12, linewidth=0)
        ax.set_ylim(-1.05, 1.45)
        ax.axhline(0, color="k", linewidth=0.6)
        ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    for ax in axes[3]:
        ax.set_xlabel("step")
        ax.set_xticks(steps, steps, fontsize=9)
    return figure


# %% [markdown]
# ## 10. A cell of your own
#
# Each unit of this cell has its own pace: it keeps a part k of what it has and takes the rest from
# a tanh. k is the sigmoid of a learnt weight.
#
#     h_t = k * h_{t-1} + (1 - k) * tanh(z_t)        k = sigmoid(a)
#
# The class says how many sums its step needs, what its state is, which weight it has beside W_x,
# W_h and b, and what the step does; the sums arrive as a tuple, here with the one element z[0]. It
# is used like every other cell, `unroll(PaceCell(3, 8, rng=rng), x)`, and trained like them. As the
# step is elementwise, `unroll` gives it a custom backward pass: its gradient, also that of a, is
# derived from these lines, and there is one product in each loop.


# %%
class PaceCell(sr.Cell):
    """``h_t = k * h_{t-1} + (1 - k) * tanh(z_t)`` with ``k = sigmoid(a)``."""

    n_gates = 1
    State = sr.HiddenState

    def __init__(self, n_in: int, n_hidden: int, *, rng: np.random.Generator) -> None:
        super().__init__(n_in, n_hidden, rng=rng)
        self.a = sr.parameter("a", (n_hidden,), np.zeros(n_hidden))

    def step(self, z: Any, h: Any) -> sr.HiddenState:
        """Return the new state."""
        k = pt.sigmoid(self.a)
        return sr.HiddenState(k * h + (1 - k) * pt.tanh(z[0]))


def own_cell(rng: Any, x: Any, large_x: Any, repeats: int, mode: str) -> Compiled:
    """Print that both backward passes agree for a cell that the library has never seen."""
    compiled = compile_cell(PaceCell(x.shape[2], 3, rng=rng), mode)
    cell, ways = compiled
    difference = largest_difference(ways["scan"](x), ways["kernel"](x))
    print(f"PaceCell: both backward passes differ by {difference:.1e}")
    grow(cell, rng)
    for way, function in ways.items():
        forward, backward = products_in_loops(function)
        print(f"  {way:<9} products in one step forward {forward}, backward {backward}; ", end="")
        print(f"{milliseconds(function, large_x, repeats):6.2f} ms")
    return compiled


# %%
def main(
    mode: str | None = None,
    dtype: Literal["float64", "float32"] = "float64",
    seed: int = 1,
    figures: str = "figures",
    quick: bool = False,
) -> dict[str, Any]:
    """Run the lesson; return what its parts found."""
    with pytensor.config.change_flags(floatX=dtype):
        return lesson(mode or "QUICK", dtype, seed, figures, quick)


def lesson(mode: str, dtype: str, seed: int, figures: str, quick: bool) -> dict[str, Any]:
    """Do what `main` says, in the given dtype."""
    folder = _lesson.figure_folder(figures, quick)
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(4, 2, 2)).astype(dtype)  # (time, batch, n_in)
    large_x = rng.normal(size=(N_STEPS, BATCH, N_IN)).astype(dtype)
    repeats = 2 if quick else 5

    print(f"1. A sequence of shape {x.shape}; compiling in mode {mode}, {dtype} ...", flush=True)
    compiled, differences = [], {}
    for part, cell, by_hand in (
        (2, sr.ElmanCell(2, 3, rng=rng), elman_by_hand),
        (3, sr.LSTMCell(2, 3, rng=rng), lstm_by_hand),
        (4, sr.GRUCell(2, 3, rng=rng), gru_by_hand),
    ):
        print(f"\n{part}. {by_hand.__name__}", flush=True)
        compiled.append(compile_cell(cell, mode, by_hand))
        differences[type(cell).__name__] = compare(compiled[-1], x)
        if isinstance(cell, sr.LSTMCell):  # lesson 4 is about this
            outputs, _ = sr.unroll(cell, pt.tensor3("x"))
            print(f"what the library does, read from its graph:\n{explain.describe(outputs)}")
    elman, lstm, gru = compiled

    print("\n5. The backward pass, by hand")
    differences |= gradient_by_hand(elman, x)
    print("\n6. Why x @ W_x leaves the loop", flush=True)
    product_leaves_the_loop(elman, x, large_x, repeats, mode)
    print("\n7. What the custom backward pass does")
    _lesson.save_figure(draw_backward_pass(), folder, "03_backward_pass")
    print(f"\n8. What it brings, in mode {mode}, {dtype}", flush=True)
    times = time_all(compiled, large_x, repeats)
    _lesson.save_figure(draw_times(times, mode, dtype), folder, "03_times")
    print("\n9. What gates are good for")
    runs = latch(elman, lstm, gru)
    _lesson.save_figure(draw_gates(runs), folder, "03_gates")
    print("\n10. A cell of your own", flush=True)
    compiled.append(own_cell(rng, x, large_x, repeats, mode))
    _lesson.show_figures()
    cells = {type(c.cell).__name__: c for c in compiled}
    return {"compiled": cells, "differences": differences, "times": times, "latch": runs}


if __name__ == "__main__":
    _lesson.run(
        main,
        help={
            "dtype": "of all numbers; differences of the ways are larger in float32",
            "seed": "of the weights and the sequence",
            "figures": "folder for the figures",
            "quick": "measure each time twice only",
        },
    )
