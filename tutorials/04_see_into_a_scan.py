"""Lesson 4: see into a scan - describe it, draw it, trace it, and find what is wrong with it

What you learn
    To read a scan that somebody else has built: which argument of its step is which, what a step
    computes, and the values inside the loop. To find the step and the expression where a NaN comes
    in, and where a gradient gets lost. The ten mistakes that people make most with `scan`, each
    made, seen and fixed.

What you should see
    Seven numbered parts, five figures (04_loop.png, 04_step.png, 04_lstm.png, 04_memory.png,
    04_gradients.png) and a walk through a scan, 04_walk.gif.

How long it takes (measured on two cores)
    About 5 seconds: nothing is compiled to C.

What you need to know
    NumPy, and lessons 0 and 1; lesson 3 for the LSTM in parts 4 and 6.

The file is a script and a notebook: editors that know `# %%` cells open it as one. There, run the
cells from the top; the last one runs the whole lesson.
"""

# %%
import warnings
from collections.abc import Callable
from typing import Any

import _lesson
import matplotlib.pyplot as plt
import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.graph.traversal import explicit_graph_inputs

import symrnn as sr
from symrnn import explain


def scan(fn: Any, **options: Any) -> Any:
    """`pytensor.scan` without its old second result (lesson 1), and with the step's own names."""
    with explain.local_names():
        return pytensor.scan(fn, return_updates=False, **options)


# %% [markdown]
# ## 1. Describe
#
# Somebody hands you the variable `y` of this function, and no code. What is behind it?
#
# `explain.describe` finds the scan and lists the arguments of its step, in order, with their
# sources; then the step as equations; then its results. Nothing is compiled. PyTensor forgets how
# the arguments were called in Python, so names are taken from the variables around: a sequence x
# arrives as `x[t]`, a state that starts with h0 is called h, and a result has the name of the
# variable that `scan` returned (`y.name = "y"`) or of the one that the step did.
#
# The names of a step's local variables, such as `change`, can be had too, if the scan is built
# within `explain.local_names()`, and if the step is a function called `step` or `fn`. The helper
# `scan` above does that.
#
# Steps are counted from 0 and `x[t]` is what stands there in x. With `taps=[-1, 0]` the first step
# is at the second element; the step gets `x[t]` and `x[t+1]`.


# %%
def somebodys_scan() -> tuple[Any, dict[Any, Any]]:
    """Return a variable, and values for its inputs."""
    x, s0, decay = pt.dvector("x"), pt.dscalar("s0"), pt.dscalar("decay")

    def step(x_before, x_now, s, decay):
        change = x_now - x_before
        s = decay * s + pt.abs(change)
        return s, s > 1

    s, large = scan(
        step,
        sequences=[{"input": x, "taps": [-1, 0]}],
        outputs_info=[s0, None],
        non_sequences=[decay],
    )
    large.name = "large"
    y = s[-1] * 10
    return [y, large], {x: [0.0, 1.0, 1.0, 3.0, 2.0], s0: 0.0, decay: 0.5}


# %% [markdown]
# ## 2. Draw
#
# `explain.draw` shows the same as a loop and as the chain that the loop stands for, and
# `explain.draw_step` what uses what within a step. Orange is what comes back, green what comes from
# sequences.

# %% [markdown]
# ## 3. Trace
#
# `explain.trace` runs the scan and keeps every value of every step: arguments, what has a name in
# between, results. It is the scan itself that runs, with more outputs, and not an imitation of it.
# A trace prints as a table, and gives arrays: `traced["change"]`.
#
# `explain.animate` walks through a trace with a picture for each step.

# %% [markdown]
# ## 4. What an LSTM remembers
#
# The library's layers can be looked into like any other scan. The equations below come from the
# cell's own code: `i`, `f`, `g` and `o` are its local variables. `zx` is what comes from the input,
# x W_x + b, computed for all steps before the loop, and z[0] to z[3] are the parts of z that belong
# to the four gates.
#
# The heat map shows the memory c of an untrained cell over 40 steps, a row for each unit.


# %%
def lstm() -> tuple[Any, dict[Any, Any]]:
    """Return the outputs of an LSTM's layer, and values for its input."""
    rng = np.random.default_rng(3)
    x = pt.dtensor3("x")
    h, _ = sr.unroll(sr.LSTMCell(1, 8, rng=rng), x)
    wave = np.sin(np.arange(40) / 3)[:, None, None]
    return h, {x: 3 * wave}


# %% [markdown]
# ## 5. Where does the NaN come from?
#
# A step computes sqrt(s^2 - x). Some day a loss is NaN. `explain.first_nonfinite` names the first
# step, and in it the first expression, whose value is NaN or infinite, and the values it was made
# of. Given a gradient, it looks into the scan of the gradient too: there sqrt(0) is a trap, whose
# value is fine and whose gradient is infinite.


# %%
def square_roots() -> tuple[Any, Any, Any]:
    """Return x, the states, and a gradient."""
    x, w = pt.dvector("x"), pt.dscalar("w")

    def step(x_t, s, w):
        return pt.sqrt(w * s**2 - x_t)

    s = scan(
        step,
        sequences=[x],
        outputs_info=[pt.constant(2.0, dtype="float64")],
        non_sequences=[w],
    )
    s.name = "s"
    return x, s, pytensor.grad(s.sum(), w)


# %% [markdown]
# ## 6. Where does the gradient go?
#
# `explain.gradient_flow` gives the size of dL/dh_t for each step t: how much of what the loss says
# at the end still reaches step t. A line that falls towards the left means that the net cannot
# learn what happened there. The Elman nets differ only in the size of W_h.


# %%
def flows(n_steps: int) -> dict[str, Any]:
    """Return |dL/dh_t| for several cells, with the loss at the last step."""
    rng = np.random.default_rng(0)
    cells: dict[str, sr.Cell] = {"LSTM": sr.LSTMCell(1, 16, rng=rng)}
    for scale in (0.6, 1.0, 1.6):
        cell = sr.ElmanCell(1, 16, rng=rng, activation="identity" if scale == 1.6 else "tanh")
        cell.W_h.set_value(scale * cell.W_h.get_value())
        cells[f"Elman, W_h times {scale}"] = cell
    found = {}
    for name, cell in cells.items():
        x = pt.dtensor3("x")
        h, _ = sr.unroll(cell, x)
        value = np.random.default_rng(1).normal(size=(n_steps, 4, 1))
        found[name] = explain.gradient_flow(h[-1].sum(), h, {x: value})
    return found


def draw_flows(found: dict[str, Any]) -> Any:
    """Return a figure of the gradients over time."""
    figure, ax = plt.subplots(figsize=(8, 4), layout="constrained")
    for name, flow in found.items():
        ax.semilogy(flow, label=name)
    ax.set(xlabel="step t", ylabel="|dL/dh_t|", title="what reaches step t of a loss at the end")
    ax.legend()
    return figure


# %% [markdown]
# ## 7. Ten mistakes
#
# Each is made here as people make it. What PyTensor says is printed (its first line), or the wrong
# numbers where it says nothing; then what the tools say; then the fixed scan.
#
# `explain.check` takes the arguments of `scan`, calls the step once outside of the loop, and says
# in words what is wrong. It cannot know what is meant: for mistakes 2, 5 and 10 one has to look at
# what it says goes where, or at what `describe` says the step computes.

# %%
X, M, W = pt.dvector("x"), pt.dmatrix("m"), pytensor.shared(2.0, name="w")
XS, MS = np.array([1.0, 2.0, 3.0]), np.arange(6.0).reshape(3, 2)
ZERO = pt.constant(0.0, dtype="float64")


def value(variable: Any) -> Any:
    """Compute a variable from the values of x and m above."""
    known = list(explicit_graph_inputs([variable]))
    f = sr.function(known, variable)
    return f(*({"x": XS, "m": MS}[v.name] for v in known))


def says(build: Callable[[], Any]) -> str:
    """What PyTensor says to a wrong scan, cut off, or the numbers it computes."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return f"PyTensor computes {value(build()).tolist()}"
    except Exception as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        return f"PyTensor: {type(error).__name__}: {lines[0][:100]}"


def mistake(title: str, wrong: dict[str, Any], fixed: dict[str, Any]) -> tuple[Any, Any]:
    """Print a mistake, what PyTensor and `check` say, and what the fixed scan computes."""
    print(f"\n{title}")
    said = says(lambda: scan(**wrong))
    print(f"  {said}")
    report = explain.check(**wrong)
    if said.startswith("PyTensor computes"):
        print(f"  describe: {explain.describe(scan(**wrong)).scans[0].equations[-1]}")
    print(f"  check: scan calls {report.call}")
    for line in [*report.problems, *report.remarks]:
        print(f"  check: {line}")
    result = scan(**fixed)
    result = result[0] if isinstance(result, list) else result
    print(f"  fixed: {value(result).tolist()}")
    return report, value(result)


def ten_mistakes() -> list[tuple[Any, Any]]:
    """Make, see and mend them."""
    found = [
        mistake(
            "1. The step takes fewer arguments than scan gives it: the state is forgotten.",
            {"fn": lambda x_t: x_t, "sequences": [X], "outputs_info": [ZERO]},
            {"fn": lambda x_t, s: s + x_t, "sequences": [X], "outputs_info": [ZERO]},
        ),
        mistake(
            "2. The arguments come in another order: the state before the sequence.",
            {"fn": lambda s, x_t: s - x_t, "sequences": [X], "outputs_info": [ZERO]},
            {"fn": lambda x_t, s: s - x_t, "sequences": [X], "outputs_info": [ZERO]},
        ),
        mistake(
            "3. The initial value is the number 0, which is an int8.",
            {"fn": lambda x_t, s: s + x_t, "sequences": [X], "outputs_info": [0]},
            {"fn": lambda x_t, s: s + x_t, "sequences": [X], "outputs_info": [ZERO]},
        ),
        mistake(
            "4. Two outputs, but only one entry in outputs_info: None is forgotten.",
            {"fn": lambda x_t, s: (s + x_t, s * x_t), "sequences": [X], "outputs_info": [ZERO]},
            {
                "fn": lambda x_t, s: (s + x_t, s * x_t),
                "sequences": [X],
                "outputs_info": [ZERO, None],
            },
        ),
        mistake(
            "5. The initial value has an axis for time.",
            {"fn": lambda row, s: s + row, "sequences": [M], "outputs_info": [pt.zeros((1, 2))]},
            {"fn": lambda row, s: s + row, "sequences": [M], "outputs_info": [pt.zeros(2)]},
        ),
        mistake(
            "6. An initial value of length 1 where the state has length 2.",
            {"fn": lambda row, s: s + row, "sequences": [M], "outputs_info": [pt.zeros(1)]},
            {"fn": lambda row, s: s + row, "sequences": [M], "outputs_info": [pt.zeros(2)]},
        ),
        mistake(
            "7. A Python `if` asks a variable that has no value yet.",
            {"fn": lambda x_t: x_t if x_t > 1 else -x_t, "sequences": [X]},
            {"fn": lambda x_t: pt.switch(x_t > 1, x_t, -x_t), "sequences": [X]},
        ),
        mistake(
            "8. With strict=True, a shared variable that is not handed in.",
            {"fn": lambda x_t: x_t * W, "sequences": [X], "strict": True},
            {"fn": lambda x_t, w: x_t * w, "sequences": [X], "non_sequences": [W], "strict": True},
        ),
    ]
    found.append(same_random_numbers())
    found.append(reversed_outputs())
    return found


# %% [markdown]
# The last two compute wrong numbers without a word. A shared generator that is not passed from step
# to step gives every step the same draw; `trace` shows it at a glance. And the outputs of
# `go_backwards=True` are in the order in which they were made: the first belongs to the LAST x.


# %%
def same_random_numbers() -> tuple[Any, Any]:
    """Mistake 9: the same random number in every step."""
    print("\n9. Random numbers from a generator that is not passed on.")
    rng, fresh = (pt.random.shared_rng(seed=1, name="rng") for _ in range(2))

    def wrong(place):
        return place + rng.normal()[1]

    def fixed(place, rng):
        next_rng, move = rng.normal()
        return place + move, next_rng

    place = scan(wrong, outputs_info=[ZERO], n_steps=4)
    place.name = "place"
    print(explain.trace(place))
    report = explain.check(wrong, outputs_info=[ZERO], n_steps=4)
    print(f"  check: {report.problems[0]}")
    place, _ = scan(fixed, outputs_info=[ZERO, fresh], n_steps=4)
    place.name = "place"
    traced = explain.trace(place)
    print(f"fixed:\n{traced}")
    return report, traced["place"]


def reversed_outputs() -> tuple[Any, Any]:
    """Mistake 10: outputs of a backward scan taken for those of a forward one."""
    print("\n10. Outputs of go_backwards=True beside the sequence they were made from.")
    rest = scan(lambda x_t, s: s + x_t, sequences=[X], outputs_info=[ZERO], go_backwards=True)
    rest.name = "rest"
    description = explain.describe(rest)
    print(f"  describe: {str(description).splitlines()[0]}")
    print(explain.trace(rest, {X: XS}))
    print(f"  rest[0] belongs to x[-1]; fixed, rest[::-1]: {value(rest[::-1]).tolist()}")
    return description, value(rest[::-1])


# %%
def main(figures: str = "figures", quick: bool = False) -> dict[str, Any]:
    """Run the lesson; return what its parts found."""
    folder = _lesson.figure_folder(figures, quick)
    outputs, inputs = somebodys_scan()
    print("1. Describe")
    description = explain.describe(outputs)
    print(description)
    print("\n2. Draw")
    _lesson.save_figure(explain.draw(outputs), folder, "04_loop")
    _lesson.save_figure(explain.draw_step(outputs), folder, "04_step")
    print("\n3. Trace")
    traced = explain.trace(outputs, inputs)
    print(traced)
    print(f"walk: {explain.animate(traced, folder / '04_walk.gif', seconds_per_step=1.5)}")

    print("\n4. What an LSTM remembers")
    h, given = lstm()
    print(explain.describe(h))
    _lesson.save_figure(explain.draw(h), folder, "04_lstm")
    memory = explain.trace(h, given)
    ax = explain.draw_states(memory, "c")
    _lesson.save_figure(ax.figure, folder, "04_memory")

    print("\n5. Where does the NaN come from?")
    x, s, gradient = square_roots()
    forward = explain.first_nonfinite(s, {x: [3.0, 0.5, 1.0], "w": 1.0})
    print(forward)
    back = explain.first_nonfinite(gradient, {x: [3.0, 1.0, 0.0], "w": 1.0})
    print(f"in the gradient: {back}")

    print("\n6. Where does the gradient go?")
    found = flows(n_steps=20 if quick else 60)
    for name, flow in found.items():
        print(f"  {name:<22} at the first step {flow[0]:8.1e}, at the last {flow[-1]:.1f}")
    _lesson.save_figure(draw_flows(found), folder, "04_gradients")

    print("\n7. Ten mistakes")
    mistakes = ten_mistakes()
    _lesson.show_figures()
    return {
        "description": description,
        "trace": traced,
        "memory": memory,
        "nonfinite": (forward, back),
        "flows": found,
        "mistakes": mistakes,
    }


if __name__ == "__main__":
    _lesson.run(
        main,
        help={"figures": "folder for the figures", "quick": "a shorter sequence in part 6"},
    )
