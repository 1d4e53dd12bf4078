"""Lesson 1: a loop inside a graph - every argument of `scan`, and the mistake that goes with it

What you learn
    How `pytensor.scan` turns a Python loop into a graph: what the step function receives and in
    which order, what comes back, how to stop early, how to draw random numbers and how to take
    gradients through the loop. Each idea comes with the mistake people make there: the lesson
    makes it on purpose, prints what happens, and prints the fix.

What you should see
    19 numbered parts. The two warm-ups print [10, 20, 40] and
    [[2, 1], [4, 3], [9, 7]], the same as the plain Python loops beside them. The last part writes
    one figure, 01_scan_unrolled.png: the loop folded up and rolled out, with its numbers.

How long it takes (measured on two cores)
    About 10 seconds the first time, because PyTensor compiles the steps to C and keeps them on
    disk; 3 seconds from then on. The other modes print the same. Their first run is slower: with
    --mode CVM about 30 seconds, with --mode NUMBA about a minute.

What you need to know
    NumPy. Nothing about symbolic loops.

The file is a script and a notebook: editors that know `# %%` cells open it as one. There, run the
cells from the top and call the function of the cell you are in, for example `warm_up_doubling()`.
The last cell calls them all.
"""

# %%
import logging
import re
from collections.abc import Callable
from pathlib import Path

import _lesson
import matplotlib.pyplot as plt
import numpy as np
import pytensor
import pytensor.tensor as pt
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from pytensor.scan import until

from symrnn import explain

# %% [markdown]
# ## What a scan is
#
# PyTensor works in three moves. You write down variables without values, you build a graph of
# operations on them, and you compile the graph into a function that takes numbers. A Python `for`
# loop runs while you build the graph: it cannot depend on a number that arrives later, such as
# the length of a series. `pytensor.scan` puts the loop itself into the graph.
#
# You give scan a function `fn` that builds the graph of ONE step. Scan calls it once, with
# variables that stand for "the values of this step". The compiled loop then runs that one small
# graph as often as needed. A `print` inside `fn` therefore prints once, and prints no numbers.
#
# ## The order of fn's arguments
#
# | what `fn` receives, in this order                        | which argument of scan it is from |
# |----------------------------------------------------------|-----------------------------------|
# | 1. the slices of each sequence: one per tap, in the      | `sequences`                       |
# |    order of the taps, sequence after sequence            |                                   |
# | 2. the past values of each output that is fed back: one  | `outputs_info`                    |
# |    per tap, in the order of the taps; outputs marked     |                                   |
# |    `None` give nothing                                   |                                   |
# | 3. everything that is the same in each step              | `non_sequences`                   |
#
# `fn` returns one value per entry of `outputs_info`, in the same order. The names of fn's
# parameters mean nothing to scan: only their order counts. Part 3 prints this table for a real
# scan.
#
# ## All arguments of scan
#
# | argument            | what it says                                                 | part   |
# |---------------------|--------------------------------------------------------------|--------|
# | `fn`                | builds the graph of one step                                 | 1 - 3  |
# | `sequences`         | what is walked along, first axis first; may have taps        | 4 - 6  |
# | `outputs_info`      | which outputs are fed back, and from which start             | 7 - 10 |
# | `non_sequences`     | what every step gets unchanged                               | 11     |
# | `strict`            | an error if a shared variable was left out of the above      | 11     |
# | `n_steps`           | how often the step runs (at most, with `until`)              | 12, 14 |
# | `go_backwards`      | walk along the sequences from their end                      | 13     |
# | `return_list`       | a list of outputs, even for one output                       | 15     |
# | `return_updates`    | `False`: return the outputs only (`True` is the old way)     | 1      |
# | `truncate_gradient` | how many steps the gradient walks back                       | 17     |
# | `name`              | a name to be recognised by in printed graphs                 | 18     |
#
# The other three, `mode`, `profile` and `allow_gc`, change how the loop is compiled, timed and
# stored, not what it computes. We do not need them, and PyTensor 3.3 calls `mode` deprecated.

# %% [markdown]
# ## Three helpers for this lesson
#
# `show` prints a result, `error_of` runs something that must fail and keeps the telling part of
# its message, `mistake` prints what was done wrong, what came of it, and how to put it right.


# %%
def show(label: str, value) -> None:
    """Print a label and a value on one line."""
    text = np.array2string(np.asarray(value), precision=4, separator=", ")
    print(f"  {label + ':':<34} {' '.join(text.split())}")


def error_of(attempt: Callable[[], object], *telling: str) -> str:
    """Run `attempt`, which must fail; return the error's type and the `telling` parts of its text.

    The messages are long, and some differ between versions of PyTensor, so regular expressions
    pick the parts to print. If one is not found, the beginning of the message is printed instead.
    """
    logging.disable(logging.ERROR)  # PyTensor 3.3 also logs some of these errors, at length
    try:
        attempt()
    except Exception as error:
        text = " ".join(str(error).split())
        found = [re.search(part, text) for part in telling]
        parts = [match[0] for match in found if match] if all(found) else [text[:80]]
        return f"{type(error).__name__}: " + " ... ".join(parts)
    finally:
        logging.disable(logging.NOTSET)
    return "no error in this version of PyTensor"


def mistake(what: str, outcome, fix: str) -> None:
    """Print a mistake, the error or the wrong value it leads to, and the fix."""
    if not isinstance(outcome, str):
        outcome = "no error, but " + " ".join(np.array2string(outcome, separator=", ").split())
    print(f"  x {what}\n      -> {outcome}\n      fix: {fix}")


# %% [markdown]
# ## 1. Warm-up: doubling
#
# One number is doubled again and again. The equation:
#
# $$ s_t = 2\, s_{t-1}, \qquad s_0 = 5 $$
#
# There is no sequence to walk along, so `n_steps` says how often. `outputs_info` holds the start:
# it also tells scan to hand each result back to the next step, where it arrives as `prior`.
#
# Three arguments appear throughout this lesson. `return_updates=False` asks for the outputs
# alone; the default also returns a dictionary, is deprecated and warns. `strict=True` and
# `return_list=True` are explained in parts 11 and 15.
#
# *What to notice:* the output holds the state after each step: 10, 20 and 40. The start, 5, is not
# in it.
#
# *The mistake:* PyTensor gives an integer that you type in the smallest type that holds it. A
# literal 5 has 8 bits. Doubled seven times it passes 127 and wraps around, without a word.


# %%
def warm_up_doubling(mode: str = "FAST_COMPILE") -> dict[str, np.ndarray]:
    """Double a number three times, as a loop and as a scan."""
    # the plain loop
    state, by_loop = 5.0, []
    for _ in range(3):
        state = state * 2
        by_loop.append(state)

    # the same as a graph
    start = pt.dscalar("start")  # d for double, the type float64

    def step(prior):
        return prior * 2

    [states] = pytensor.scan(
        step,
        outputs_info=[start],
        n_steps=3,
        return_updates=False,
        strict=True,
        return_list=True,
    )
    double_thrice = pytensor.function([start], states, mode=mode)
    by_scan = double_thrice(5)

    show("plain loop", by_loop)
    show("scan", by_scan)
    assert np.array_equal(by_loop, by_scan)

    [states] = pytensor.scan(
        step,
        outputs_info=[5],
        n_steps=7,
        return_updates=False,
        strict=True,
        return_list=True,
    )
    literal = pytensor.function([], states, mode=mode)()
    mistake(
        f"a literal 5 as the start, doubled 7 times: the states are {literal.dtype}",
        literal,
        'give the start a type: pt.dscalar("start"), or np.float64(5)',
    )
    return {"loop": np.array(by_loop), "scan": by_scan, "literal_start": literal}


# %% [markdown]
# ## 2. Warm-up: a sequence and a state
#
# Now each step also takes one row of a sequence:
#
# $$ s_t = x_t + 2\, s_{t-1} $$
#
# The sequence comes first among fn's arguments, the past state second.
#
# *What to notice:* there is no `n_steps`. The number of steps is the length of the sequence, which
# nobody has to know while the graph is built.
#
# *The mistake:* the two arguments of `fn` the wrong way round. Both are vectors of length two, so
# nothing can complain; `fn` doubles the sequence instead of the state.


# %%
def warm_up_sequence(mode: str = "FAST_COMPILE") -> dict[str, np.ndarray]:
    """Add a sequence to a state that is doubled in each step."""
    values = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])  # (time, features)
    first = np.array([0.5, 0.5])  # (features,)

    # the plain loop
    state, by_loop = first, []
    for row in values:
        state = row + state * 2
        by_loop.append(state)

    # the same as a graph
    seq = pt.dmatrix("seq")  # (time, features)
    start = pt.dvector("start")  # (features,)

    def step(seq_t, prior):
        return seq_t + prior * 2

    [states] = pytensor.scan(
        step,
        sequences=[seq],
        outputs_info=[start],
        return_updates=False,
        strict=True,
        return_list=True,
    )
    run = pytensor.function([seq, start], states, mode=mode)
    by_scan = run(values, first)  # (time, features)

    show("plain loop", by_loop)
    show("scan", by_scan)
    assert np.array_equal(by_loop, by_scan)

    def step_swapped(prior, seq_t):
        return seq_t + prior * 2

    [states] = pytensor.scan(
        step_swapped,
        sequences=[seq],
        outputs_info=[start],
        return_updates=False,
        strict=True,
        return_list=True,
    )
    swapped = pytensor.function([seq, start], states, mode=mode)(values, first)
    mistake(
        "fn(prior, seq_t): its arguments in the wrong order",
        swapped,
        "sequences first, then past outputs, then non-sequences: fn(seq_t, prior)",
    )
    return {
        "sequence": values,
        "start": first,
        "loop": np.array(by_loop),
        "scan": by_scan,
        "swapped": swapped,
    }


# %% [markdown]
# From here on the three arguments that are always the same have a name, so that each cell shows
# only what it is about.

# %%
SAFE = {"return_updates": False, "strict": True, "return_list": True}

# %% [markdown]
# ## 3. Which argument of fn is which
#
# The table at the top, printed by a scan itself. PyTensor names the variables it hands to `fn`
# after the ones you gave, if those have names: `a[t-1]` is "a, one step back". `fn` here takes
# whatever comes and writes the names down.
#
# *What to notice:* the second output is marked `None`, so nothing of it comes back to `fn`. And
# `fn` was called once, although the loop has not run at all.
#
# *The mistake:* one parameter too few or too many. Python raises a TypeError that counts the
# arguments; the list below is what to count against.


# %%
def order_of_arguments() -> dict[str, object]:
    """List what `fn` receives, in order, for a scan that uses everything."""
    a, b = pt.dvector("a"), pt.dvector("b")
    y_start, z_start, w = pt.dvector("y"), pt.dscalar("z"), pt.dscalar("w")
    received = []

    def step(*arguments):
        received.append([variable.name for variable in arguments])
        a_back, a_ahead, b_now, y_back_2, y_back_1, z_back, w_same = arguments
        y = a_back + a_ahead + y_back_2 + y_back_1
        return [y, y * b_now, z_back * w_same]

    pytensor.scan(
        step,
        sequences=[{"input": a, "taps": [-1, 1]}, b],
        outputs_info=[{"initial": y_start, "taps": [-2, -1]}, None, z_start],
        non_sequences=[w],
        **SAFE,
    )
    [names] = received  # exactly one entry: fn was called once
    source = ["sequences"] * 3 + ["outputs_info"] * 3 + ["non_sequences"]
    for position, (name, origin) in enumerate(zip(names, source, strict=True), 1):
        print(f"  argument {position}: {name:<8} from {origin}")
    print(f"  calls of fn while the graph was built: {len(received)}")

    too_few = error_of(
        lambda: pytensor.scan(
            lambda a_now: a_now * 2, sequences=[a], outputs_info=[z_start], **SAFE
        ),
        r"takes 1 positional argument but 2 were given",
    )
    mistake(
        "fn(a_now) for a sequence and a state",
        too_few,
        "one parameter per tap of a sequence, per tap of an output, per non-sequence",
    )
    return {"names": names, "calls": len(received), "too_few": too_few}


# %% [markdown]
# ## 4. One sequence
#
# $$ y_t = 10\, x_t $$
#
# The simplest loop: no state at all. Without `outputs_info` no output is fed back, and `fn` gets
# the slice of the sequence and nothing else. (Without a scan you would write `10 * x`. Use scan
# where a step needs the step before.) A second loop sums up over time, for two samples at once.
#
# *What to notice:* there is no loop over the samples. A step works on all of them.
#
# *The mistake:* scan walks along the FIRST axis. Data are often stored as (samples, time); scan
# then loops over the samples. Transpose, so that time comes first.


# %%
def one_sequence(mode: str = "FAST_COMPILE") -> dict[str, np.ndarray]:
    """Apply a step to each element of a sequence; loop over the wrong axis."""
    x = pt.dvector("x")
    [y] = pytensor.scan(lambda x_t: 10 * x_t, sequences=[x], **SAFE)
    tenfold = pytensor.function([x], y, mode=mode)([1, 2, 3])
    show("10 times 1, 2, 3", tenfold)

    # a running sum over time, for 2 samples of 3 time steps at once
    samples = np.array([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]])  # (samples, time)
    X = pt.dmatrix("X")  # (time, samples)
    [sums] = pytensor.scan(
        lambda x_t, sum_before: sum_before + x_t,
        sequences=[X],
        outputs_info=[pt.zeros_like(X[0])],
        **SAFE,
    )
    running_sum = pytensor.function([X], sums, mode=mode)
    right, wrong = running_sum(samples.T), running_sum(samples)
    show("running sums, time first", right)
    mistake(
        "the same function on data that hold the samples first",
        wrong,
        "put time first: X.T for a matrix, X.transpose(1, 0, 2) for (samples, time, features)",
    )
    return {"tenfold": tenfold, "time_first": right, "samples_first": wrong}


# %% [markdown]
# ## 5. Several sequences
#
# $$ y_t = a_t\, b_t $$
#
# *What to notice:* sequences are walked in step, like `zip` in Python. And like `zip`:
#
# *The mistake:* sequences of different lengths. Scan stops with the shortest and says nothing.


# %%
def several_sequences(mode: str = "FAST_COMPILE") -> dict[str, np.ndarray]:
    """Walk along two sequences at once."""
    a, b = pt.dvector("a"), pt.dvector("b")
    [y] = pytensor.scan(lambda a_t, b_t: a_t * b_t, sequences=[a, b], **SAFE)
    multiply = pytensor.function([a, b], y, mode=mode)
    products, cut = multiply([1, 2, 3], [10, 20, 30]), multiply([1, 2, 3], [10, 20])
    show("a * b", products)
    mistake(
        "three values in a, two in b",
        cut,
        "check the lengths before the call; scan takes the shortest",
    )
    return {"products": products, "shortest": cut}


# %% [markdown]
# ## 6. Taps of a sequence: neighbours in time
#
# $$ y_t = x_{t+1} - x_t $$
#
# A tap is a distance in time. `{"input": x, "taps": [0, 1]}` hands `fn` two slices: x now and x
# one step ahead, in the order of the list.
#
# *What to notice:* there are as many steps as complete pairs, one fewer than elements.
#
# *The mistakes:* (a) taking the slices in another order than the taps: here it turns the sign.
# (b) Believing that a second sequence is lined up with taps that look back. It is not. A sequence
# with taps [-1, 1] starts at its own first complete step, t = 1, while a sequence without taps
# starts at its element 0. The cure is to cut the second one by hand: `z[1:]`.


# %%
def sequence_taps(mode: str = "FAST_COMPILE") -> dict[str, np.ndarray]:
    """Look at neighbours in time."""
    x, z = pt.dvector("x"), pt.dvector("z")
    pair = {"input": x, "taps": [0, 1]}
    [right] = pytensor.scan(lambda now, ahead: ahead - now, sequences=[pair], **SAFE)
    [wrong] = pytensor.scan(lambda ahead, now: ahead - now, sequences=[pair], **SAFE)
    differences, swapped = pytensor.function([x], [right, wrong], mode=mode)([1, 2, 4, 8])
    show("differences of 1, 2, 4, 8", differences)
    mistake(
        "taps [0, 1], but fn(ahead, now)",
        swapped,
        "parameters in the order of the taps: fn(now, ahead)",
    )

    def step(before, after, z_t):
        return [before, after, z_t]

    around = {"input": x, "taps": [-1, 1]}
    unlined = pytensor.scan(step, sequences=[around, z], **SAFE)
    lined_up = pytensor.scan(step, sequences=[around, z[1:]], **SAFE)
    look = pytensor.function(
        [x, z], [pt.stack(unlined, axis=1), pt.stack(lined_up, axis=1)], mode=mode
    )
    off, on = look([1, 2, 4, 8], [1, 2, 4, 8])  # (steps, 3) each
    mistake(
        "x and z are both 1, 2, 4, 8; taps [-1, 1] on x; each row is x[t-1], x[t+1], z[t]",
        off,
        "cut z by hand, z[1:]: " + " ".join(np.array2string(on, separator=", ").split()),
    )
    return {"differences": differences, "swapped": swapped, "unlined": off, "lined_up": on}


# %% [markdown]
# ## 7. The start of a state, which the output does not hold
#
# $$ s_t = s_{t-1} + x_t, \qquad s_0 \text{ given} $$
#
# A variable in `outputs_info` is the value of that output before the first step.
#
# *What to notice:* the output has as many rows as the sequence. Row t is the state AFTER the step
# that read `x[t]`.
#
# *The mistake:* to take `states[0]` for the start. If you need the start in the output, put it in
# front yourself.


# %%
def start_of_a_state(mode: str = "FAST_COMPILE") -> dict[str, np.ndarray]:
    """Sum up a sequence from a given start."""
    x, start = pt.dvector("x"), pt.dscalar("start")
    [states] = pytensor.scan(
        lambda x_t, prior: prior + x_t, sequences=[x], outputs_info=[start], **SAFE
    )
    with_start = pt.concatenate([start[None], states])  # [None] makes a vector of length 1
    run = pytensor.function([x, start], [states, with_start], mode=mode)
    sums, with_start_values = run([1, 2, 3], 100)
    show("start 100, then + 1, + 2, + 3", sums)
    mistake(
        "states[0] taken for the start",
        sums[:1],
        f"pt.concatenate([start[None], states]) -> {with_start_values.tolist()}",
    )
    return {"sums": sums, "with_start": with_start_values}


# %% [markdown]
# ## 8. Type and shape of the start
#
# The start must have the same type and the same number of axes as what `fn` returns, because the
# result of one step is the start of the next.
#
# *The mistakes:* (a) a literal `0` or `0.0` as the start. The first is an 8-bit integer, the second
# is float32, and a step that adds float64 data returns float64: scan refuses.
#
# (b) A start whose width is the number 1 in the graph, `pt.zeros(1)`. PyTensor keeps "always 1"
# apart from "any width", and the step returns any width. FAST_COMPILE and CVM refuse this when the
# function is compiled, NUMBA only when it runs on wider data; so this part is compiled with
# FAST_COMPILE whatever mode you chose. The fix is a start that takes its width from the data.
#
# *What to notice:* in part 1 the literal start was not refused. A step that only doubles returns
# the type that it was given, so the types agreed, and the result was wrong instead. With the fix,
# data one column wide are no problem.


# %%
def type_and_shape_of_the_start() -> dict[str, object]:
    """Give a start the wrong type, then a width of 1."""

    def running_sum(sequence, start):
        [sums] = pytensor.scan(
            lambda x_t, prior: prior + x_t, sequences=[sequence], outputs_info=[start], **SAFE
        )
        return pytensor.function([sequence], sums, mode="FAST_COMPILE")

    x, X = pt.dvector("x"), pt.dmatrix("X")
    dtypes = r"has dtype \w+, while the result of the inner function \(`fn`\) has dtype \w+"
    integer = error_of(lambda: running_sum(x, 0), dtypes)
    single = error_of(lambda: running_sum(x, 0.0), dtypes)
    mistake("a literal 0 as the start of a float64 sum", integer, "a start of the type of the data")
    mistake("a literal 0.0", single, "pt.zeros_like(x[0]), or pt.zeros((), dtype=x.dtype)")
    narrow = error_of(lambda: running_sum(X, pt.zeros(1)), r"have type '.*' and '.*' respectively")
    mistake(
        "a start of width 1, pt.zeros(1), where the step returns a vector of any width",
        narrow,
        "take the width from the data: pt.zeros(X.shape[1])",
    )
    one_column = running_sum(X, pt.zeros(X.shape[1]))([[1.0], [2.0]])  # (time, 1)
    show("with the fix, one column of data", one_column)
    return {"integer": integer, "single": single, "narrow": narrow, "one_column": one_column}


# %% [markdown]
# ## 9. Fed back or not: a start or None
#
# $$ s_t = s_{t-1} + x_t, \qquad y_t = c\, s_t $$
#
# Two outputs. The sum `s` is needed in the next step, so it gets a start. Nobody reads the old `y`,
# so it gets `None`, and `fn` receives nothing for it.
#
# *What to notice:* `fn` returns both, always in the order of `outputs_info`.
#
# *The mistakes:* (a) a start for `y` too. Then `fn` receives one argument more, between the sum
# and c. If `fn` has no room for it, Python complains. If c has a default value, the old `y` takes
# its place in silence. (b) `None` for the sum: an argument is missing. Python names the last one,
# c, although it is the sum that does not come. (c) An entry left out.


# %%
def fed_back_or_not(mode: str = "FAST_COMPILE") -> dict[str, object]:
    """Mix an output that is fed back with one that is not."""
    x, c, zero = pt.dvector("x"), pt.dscalar("c"), pt.zeros((), dtype="float64")

    def step(x_t, prior, c):
        total = prior + x_t
        return [total, c * total]

    def build(fn, outputs_info, non_sequences):
        return pytensor.scan(
            fn, sequences=[x], outputs_info=outputs_info, non_sequences=non_sequences, **SAFE
        )

    def step_with_default(x_t, prior, c=10.0):
        return step(x_t, prior, c)

    sums, scaled = build(step, [zero, None], [c])
    _, replaced = build(step_with_default, [zero, zero], [])
    run = pytensor.function([x, c], [sums, scaled, replaced], mode=mode)
    sums, scaled, replaced = run([1, 2, 3], 10)
    show("sums", sums)
    show("10 times the sums", scaled)

    one_too_many = error_of(
        lambda: build(step, [zero, zero], [c]), r"takes 3 positional arguments but 4 were given"
    )
    one_missing = error_of(
        lambda: build(step, [None, None], [c]), r"missing 1 required positional argument: '\w+'"
    )
    left_out = error_of(
        lambda: build(step, [zero], [c]), r"Please provide None .* does not feed back into scan"
    )
    mistake("a start for the scaled sums too", one_too_many, "None for what no step reads")
    mistake(
        "the same, but fn(x_t, prior, c=10.0): the old output lands in c",
        replaced,
        "no default values in fn; None for what no step reads",
    )
    mistake("None for the sum, which is fed back", one_missing, "its start instead of None")
    mistake("only one entry for two outputs", left_out, "one entry per output, None included")
    return {
        "sums": sums,
        "scaled": scaled,
        "replaced": replaced,
        "errors": [one_too_many, one_missing, left_out],
    }


# %% [markdown]
# ## 10. Taps of an output: further back than one step
#
# $$ f_t = f_{t-1} + f_{t-2} $$
#
# Fibonacci's numbers need the last two outputs: `{"initial": start, "taps": [-1, -2]}`. `start` now
# has one axis more and holds the values in their order in time, the oldest first, whatever the
# order of the taps.
#
# *What to notice:* the two values of the start are not in the output, just as in part 7.
#
# *The mistake:* the wrong tap. A sum hides it, because both orders give the same. The difference,
# $w_t = w_{t-1} - w_{t-2}$, does not: it is a wave that repeats itself after six steps, and with
# the taps the wrong way round it grows without end. And a tap of 0 would be the value that the step
# is about to compute.


# %%
def output_taps(mode: str = "FAST_COMPILE") -> dict[str, object]:
    """Use the last two outputs in each step."""
    start, n = pt.dvector("start"), pt.lscalar("n")  # l for long, the type int64

    def build(fn, taps):
        info = [{"initial": start, "taps": taps}]
        [outputs] = pytensor.scan(fn, outputs_info=info, n_steps=n, **SAFE)
        return outputs

    def wave(back_1, back_2):
        return back_1 - back_2

    run = pytensor.function(
        [start, n],
        [
            build(lambda back_1, back_2: back_1 + back_2, [-1, -2]),
            build(wave, [-1, -2]),
            build(wave, [-2, -1]),
        ],
        mode=mode,
    )
    fibonacci, right, wrong = run([0, 1], 6)
    show("Fibonacci after 0, 1", fibonacci)
    show("a wave after 0, 1", right)
    mistake(
        "the wave with taps [-2, -1], but still fn(back_1, back_2)",
        wrong,
        "parameters in the order of the taps",
    )
    now = error_of(lambda: build(wave, [0, -1]), r"All the tap values must be smaller than 0")
    mistake("a tap of 0 on an output", now, "past values only: taps from -1 downwards")
    return {"fibonacci": fibonacci, "wave": right, "wrong_tap": wrong, "tap_zero": now}


# %% [markdown]
# ## 11. Non-sequences: what stays the same, and strict
#
# $$ s_t = x_t + w\, s_{t-1} $$
#
# Weights do not change from step to step. They go into `non_sequences` and arrive as fn's last
# arguments. A step can also simply mention a variable from outside, but then nobody sees what the
# loop depends on.
#
# *What to notice:* the weight is a shared variable, one that keeps a value between calls. It is no
# input of the compiled function, and still belongs into `non_sequences`.
#
# *The mistakes:* (a) a shared variable that `fn` uses and `non_sequences` does not list. With
# `strict=True` it is an error that names the variable; without it, scan adds it and says nothing.
# (PyTensor 3.0 and 3.3 word the error differently, so only the name is printed.) (b) `strict` is
# about shared variables only. A plain variable from outside is added in both cases; it is still
# an input of the whole graph, and `pytensor.function` must be given it.


# %%
def non_sequences_and_strict(mode: str = "FAST_COMPILE") -> dict[str, object]:
    """Pass a weight to every step; forget to."""
    x = pt.dvector("x")
    weight = pytensor.shared(0.5, name="weight")  # a variable with a value that stays
    factor = pt.dscalar("factor")

    def build(fn, non_sequences):
        [states] = pytensor.scan(
            fn,
            sequences=[x],
            outputs_info=[pt.zeros_like(x[0])],
            non_sequences=non_sequences,
            **SAFE,
        )
        return states

    listed = build(lambda x_t, prior, w: x_t + w * prior, [weight])
    states = pytensor.function([x], listed, mode=mode)([1, 1, 1])
    show("weight 0.5", states)

    forgotten = error_of(lambda: build(lambda x_t, prior: x_t + weight * prior, []), r"\bweight\b")
    mistake(
        "a shared variable used but not listed",
        f"{forgotten} (the name of the variable)",
        "non_sequences=[weight]",
    )
    plain = build(lambda x_t, prior: x_t + factor * prior, [])  # strict does not object
    no_input = error_of(
        lambda: pytensor.function([x], plain, mode=mode), r"\(factor\)", r"was not provided"
    )
    mistake(
        "a plain variable used in fn, and not an input of the function",
        no_input,
        "list it in non_sequences, and compile with pytensor.function([x, factor], ...)",
    )
    return {"states": states, "forgotten": forgotten, "no_input": no_input}


# %% [markdown]
# ## 12. The number of steps
#
# `n_steps` may be a variable: one compiled function then serves any number. With sequences it is
# needed only to stop before they end. (With the literal `n_steps=1` scan builds no loop at all,
# only the one step.)
#
# *What to notice:* below, the same compiled function makes three steps and five.
#
# *The mistakes:* (a) neither a sequence nor `n_steps`. (b) More steps than the sequence has.
# FAST_COMPILE and CVM refuse. NUMBA does NOT look: it reads on in memory behind the sequence. So
# this mistake is compiled with FAST_COMPILE here, whatever mode you chose. (c) No step at all,
# `n_steps=0` or an empty sequence. The output is empty, as it should be, but the last value
# `states[-1]` is not an error as in NumPy: it is the start. Reject empty sequences yourself.


# %%
def number_of_steps(mode: str = "FAST_COMPILE") -> dict[str, object]:
    """Choose the number of steps when the function is called."""
    start, x, n = pt.dscalar("start"), pt.dvector("x"), pt.lscalar("n")
    [states] = pytensor.scan(lambda prior: prior * 2, outputs_info=[start], n_steps=n, **SAFE)
    double = pytensor.function([start, n], states, mode=mode)
    last = pytensor.function([start, n], states[-1], mode=mode)
    three, five = double(5, 3), double(5, 5)
    show("three steps", three)
    show("five steps, the same function", five)

    nothing = error_of(
        lambda: pytensor.scan(lambda prior: prior * 2, outputs_info=[start], **SAFE),
        r"No information about the number of steps provided",
    )
    mistake("neither a sequence nor n_steps", nothing, "give one of the two")
    [y] = pytensor.scan(lambda x_t: 10 * x_t, sequences=[x], n_steps=n, **SAFE)
    tenfold = pytensor.function([x, n], y, mode="FAST_COMPILE")
    too_long = error_of(
        lambda: tenfold([1, 2, 3], 4), r"Sequence 0 has shape .* number of steps is 4"
    )
    mistake("four steps along three values", too_long, "n_steps no larger than the sequence")
    none, last_of_none = double(5, 0), last(5, 0)
    mistake(
        f"states[-1] after 0 steps from 5 (the states are {none.tolist()})",
        last_of_none,
        "check for zero steps and empty sequences before the call",
    )
    return {
        "three": three,
        "five": five,
        "none": none,
        "last_of_none": last_of_none,
        "errors": [nothing, too_long],
    }


# %% [markdown]
# ## 13. Backwards
#
# $$ s_t = s_{t+1} + x_t $$
#
# `go_backwards=True` walks along all sequences from their ends. Recurrent networks that read a
# sentence in both directions need it.
#
# *What to notice:* `fn` and its arguments are the same as in a forward loop.
#
# *The mistake:* the output is in the order in which it was computed. It is NOT flipped back: row 0
# belongs to the last element. Write `[::-1]`, so that row t belongs to `x[t]`.


# %%
def backwards(mode: str = "FAST_COMPILE") -> dict[str, np.ndarray]:
    """Sum up a sequence from its end."""
    x = pt.dvector("x")
    [states] = pytensor.scan(
        lambda x_t, later: later + x_t,
        sequences=[x],
        outputs_info=[pt.zeros_like(x[0])],
        go_backwards=True,
        **SAFE,
    )
    raw, aligned = pytensor.function([x], [states, states[::-1]], mode=mode)([1, 2, 3])
    show("x[t] + everything after it", aligned)
    mistake("the output as it comes", raw, "states[::-1]: row t then belongs to x[t]")
    return {"raw": raw, "aligned": aligned}


# %% [markdown]
# ## 14. Until: a loop with a condition
#
# $$ s_t = 2\, s_{t-1} \quad \text{until} \quad s_t > \text{limit} $$
#
# `fn` returns its outputs and then `until(condition)`. The loop ends after the step in which the
# condition holds, and that step's output is kept. A largest number of steps is still needed:
# `n_steps`, or the length of a sequence. (`until` is imported from `pytensor.scan`.)
#
# *What to notice:* six steps were allowed, three were made, and the output has three rows.
#
# *The mistakes:* (a) testing the old state instead of the new one: one step too many. (b) Returning
# the bare comparison: it counts as one more output, and nothing stops. (c) More than one output
# and `until` in one flat list; the outputs need brackets of their own. (d) A Python `if`: it would
# have to decide now, while the graph is built. Use `pt.switch(condition, yes, no)`.
#
# Before you take gradients through such a loop: PyTensor before 3.1.1 puts the gradient of a
# sequence into the wrong places if `until` stopped the loop early.


# %%
def until_loop(mode: str = "FAST_COMPILE") -> dict[str, object]:
    """Double until a limit is passed."""
    start, limit = pt.dscalar("start"), pt.dscalar("limit")

    def build(fn, outputs_info):
        return pytensor.scan(
            fn, outputs_info=outputs_info, non_sequences=[limit], n_steps=6, **SAFE
        )

    def step(prior, limit):
        doubled = prior * 2
        return doubled, until(doubled > limit)

    [states] = build(step, [start])
    [late] = build(lambda prior, limit: (prior * 2, until(prior > limit)), [start])
    [endless, flags] = build(lambda prior, limit: (prior * 2, prior * 2 > limit), [start, None])
    run = pytensor.function([start, limit], [states, late, endless, flags], mode=mode)
    right, late, endless, flags = run(5, 30)
    show("from 5 until above 30", right)

    flat = error_of(
        lambda: build(lambda prior, limit: [prior * 2, prior, until(prior > limit)], [start, None]),
        r"Scan cannot parse the return value",
    )
    python_if = error_of(
        lambda: build(lambda prior, limit: prior * 2 if prior > limit else prior, [start]),
        r"\w+ cannot be converted to Python boolean",
    )
    mistake("until(prior > limit)", late, "test the new value")
    mistake(
        f"return doubled, doubled > limit, which makes a second output {flags.tolist()}",
        endless,
        "wrap the condition: until(doubled > limit)",
    )
    mistake("return [a, b, until(...)]", flat, "return [a, b], until(...)")
    mistake("a Python if inside fn", python_if, "pt.switch(condition, yes, no)")
    return {
        "right": right,
        "late": late,
        "endless": endless,
        "flags": flags,
        "errors": [flat, python_if],
    }


# %% [markdown]
# ## 15. Several outputs, and return_list
#
# $$ a_t = b_{t-1}, \qquad b_t = a_{t-1} + b_{t-1} $$
#
# Fibonacci's numbers once more, with two states instead of two taps: two starts and two outputs,
# in one order everywhere. Without `return_list=True`, two outputs come as a list and a single one
# comes bare, so that code changes when an output is added. With it, a list always comes.
#
# *What to notice:* both new values are computed from the old ones. The new b does not see the new
# a, whatever the order in which you write them.
#
# *The mistakes:* (a) `[-1]` on that list is the last OUTPUT, not the last step. With one output it
# is the whole series, and what follows may not notice. (b) Arithmetic on the list is Python's:
# `outputs * 2` is the list twice over. (c) Unpacking a bare output as if it were a list.


# %%
def several_outputs(mode: str = "FAST_COMPILE") -> dict[str, object]:
    """Carry two states at once; take a list of outputs for an output."""
    x, a_start, b_start = pt.dvector("x"), pt.dscalar("a_start"), pt.dscalar("b_start")
    a, b = pytensor.scan(
        lambda a, b: [b, a + b], outputs_info=[a_start, b_start], n_steps=6, **SAFE
    )
    a, b = pytensor.function([a_start, b_start], [a, b], mode=mode)(0, 1)
    show("a", a)
    show("b", b)

    outputs = pytensor.scan(lambda x_t: 10 * x_t, sequences=[x], **SAFE)
    series, last = pytensor.function([x], [outputs[-1], outputs[0][-1]], mode=mode)([1, 2, 3])
    mistake(
        "outputs[-1] of the list of one output, meant as the last step",
        series,
        f"take the output out of its list first: [y] = scan(...); y[-1] -> {last}",
    )
    twice = outputs * 2
    mistake(
        "outputs * 2 on the list",
        f"no error, but a list of {len(twice)} equal variables",
        "[y] = scan(...); y * 2",
    )

    def unpack_bare():
        bare = pytensor.scan(lambda x_t: 10 * x_t, sequences=[x], **(SAFE | {"return_list": False}))
        [y] = bare
        return y

    bare = error_of(unpack_bare, r"Length of .* cannot be determined")
    mistake("[y] = scan(..., return_list=False)", bare, "return_list=True, in every scan")
    return {
        "a": a,
        "b": b,
        "series": series,
        "last": last,
        "twice": len(twice),
        "bare": bare,
    }


# %% [markdown]
# ## 16. Random numbers
#
# $$ s_t = s_{t-1} + \epsilon_t, \qquad \epsilon_t \sim N(0, 1) $$
#
# A drawing method of a generator, such as `rng.normal()`, returns two things: the generator as it
# is after drawing, and the number. Nothing is changed behind your back, so you must carry the
# generator on yourself, twice: from step to step, as a state in `outputs_info`; and from call to
# call, with `updates={rng: final_rng}`, which stores the last generator for the next call. Of a
# generator, scan returns the last one only, not one per step.
#
# *What to notice:* the second call goes on where the first one stopped.
#
# *The mistakes:* (a) no `updates`: each call draws the same numbers. (b) The generator among the
# non-sequences: each STEP draws the same number.
#
# If the noise does not depend on the state, there is a simpler way: draw all of it before the
# loop, `next_rng, noise = rng.normal(size=(n,))`, and pass `noise` as a sequence. The function then
# needs `updates={rng: next_rng}`.


# %%
def random_numbers(mode: str = "FAST_COMPILE", seed: int = 1) -> dict[str, np.ndarray]:
    """Walk at random; draw the same numbers by mistake."""
    start = pt.zeros((), dtype="float64")

    def step(rng, position):
        next_rng, noise = rng.normal()
        return [next_rng, position + noise]

    rng = pt.random.shared_rng(seed=seed, name="rng")
    final_rng, walk = pytensor.scan(step, outputs_info=[rng, start], n_steps=3, **SAFE)
    stuck = pytensor.function([], walk, mode=mode)  # without updates
    first_stuck, second_stuck = stuck(), stuck()
    draw = pytensor.function([], walk, updates={rng: final_rng}, mode=mode)
    first, second = draw(), draw()
    show("first call", first)
    show("second call", second)
    assert not np.array_equal(first, second)

    [same] = pytensor.scan(
        lambda position, rng: position + rng.normal()[1],
        outputs_info=[start],
        non_sequences=[rng],
        n_steps=3,
        **SAFE,
    )
    same_steps = np.diff(pytensor.function([], same, mode=mode)(), prepend=0.0)
    mistake(
        "two calls of a function compiled without updates",
        np.round([first_stuck, second_stuck], 4),
        "pytensor.function(..., updates={rng: final_rng})",
    )
    mistake(
        "the generator as a non-sequence; the increments of the walk are",
        np.round(same_steps, 4),
        "carry it: outputs_info=[rng, start], and return the next generator from fn",
    )
    return {
        "first": first,
        "second": second,
        "stuck": np.array([first_stuck, second_stuck]),
        "same_steps": same_steps,
    }


# %% [markdown]
# ## 17. Gradients through the loop, and truncate_gradient
#
# $$ s_t = x_t + a\, s_{t-1}, \qquad L = s_T $$
#
# `pt.grad` works on a scan as on anything else. It builds a second loop that walks back in time.
# By hand, with $g$ for $\partial L / \partial s_t$, from $g = 1$ at the end:
#
# $$ \partial L / \partial x_t = g, \qquad
#    \partial L / \partial a \mathrel{+}= g\, s_{t-1}, \qquad g \leftarrow g\, a $$
#
# `truncate_gradient=k` lets the backward loop run k steps only. This saves time on long series
# and forgets what lies further back; -1, the default, means all of them.
#
# *What to notice:* the truncated gradient is exact for the last k elements, and 0 before them.
#
# *The mistakes:* (a) the gradient of a vector: reduce it to one number first. (b) Thinking that
# truncation counts k steps back from EVERY step. It counts from the END of the series only. With
# a loss on every step, $L = \sum_t s_t$, the early elements get no gradient at all, although each
# has a direct influence on its own step.


# %%
def gradients(mode: str = "FAST_COMPILE") -> dict[str, object]:
    """Differentiate a scan, in full and truncated, and by hand."""
    values, factor = np.array([1.0, 2.0, 3.0, 4.0]), 0.5

    # by hand: forward, then back
    states = [0.0]
    for value in values:
        states.append(value + factor * states[-1])
    g, hand_a, hand_x = 1.0, 0.0, np.zeros(4)
    for t in reversed(range(4)):
        hand_x[t] = g
        hand_a += g * states[t]  # states[t] is the state before step t
        g *= factor

    # by PyTensor
    x, a = pt.dvector("x"), pt.dscalar("a")

    def build(truncate_gradient):
        [states] = pytensor.scan(
            lambda x_t, prior, a: x_t + a * prior,
            sequences=[x],
            outputs_info=[pt.zeros((), dtype="float64")],
            non_sequences=[a],
            truncate_gradient=truncate_gradient,
            **SAFE,
        )
        return states

    full, short = build(-1), build(2)
    wanted = [
        pt.grad(full[-1], a),
        pt.grad(full[-1], x),
        pt.grad(short[-1], x),
        pt.grad(full.sum(), x),
        pt.grad(short.sum(), x),
    ]
    results = pytensor.function([x, a], wanted, mode=mode)(values, factor)
    grad_a, grad_x, short_x, sum_x, short_sum_x = results
    show("by hand:    dL/dx", hand_x)
    show("by pt.grad: dL/dx", grad_x)
    show("by hand and by pt.grad: dL/da", [hand_a, grad_a])
    assert np.allclose(hand_x, grad_x)
    assert np.allclose(hand_a, grad_a)
    show("truncate_gradient=2: dL/dx", short_x)
    show("loss on every step: dL/dx", sum_x)

    vector = error_of(lambda: pt.grad(full, a), r"Cost must be a scalar")
    mistake("pt.grad(states, a), states being a vector", vector, "pt.grad(states[-1], a)")
    mistake(
        "truncate_gradient=2 with a loss on every step",
        short_sum_x,
        "cut the series into segments of k steps and carry the state on from each to the next",
    )
    return {
        "hand_a": hand_a,
        "hand_x": hand_x,
        "grad_a": grad_a,
        "grad_x": grad_x,
        "short_x": short_x,
        "sum_x": sum_x,
        "short_sum_x": short_sum_x,
        "vector": vector,
    }


# %% [markdown]
# ## 18. How to read the graph of a scan
#
# `pytensor.dprint` prints a graph as a tree, results on the left, what they are made of to the
# right and below. `[id B]` is a name: where the same thing turns up again, it has the same name,
# and what is below it is cut short with three dots. At the bottom, "Inner graphs" shows the one
# step that is run again and again.
#
# The inputs of Scan come in a fixed order: the number of steps, the sequences, one buffer for each
# state, the non-sequences. The buffer has room for the start and for all results; the start is
# written into its first row, and the line on top, which drops that row, is why the output does
# not hold the start. In the inner graph, `i0 -> [id I]` reads "first argument of the step, a slice
# of what is called I above".
#
# This is the graph as you wrote it. A compiled function `f` has a graph too, printed with
# `f.dprint()`: it has been rewritten. Here the two slices around `seq` are gone, Scan reads `seq`
# directly, and the numbers at the ends of lines give the order of execution.
#
# `explain.describe` says the same in your own names: lesson 4 is about such tools.
#
# *What to notice:* the whole loop is ONE node with one inner graph, however many steps it makes.

# %%
# Notes for the lines of the printed graph, from top to bottom: each belongs to the next line that
# contains its key.
NOTES = [
    ("Subtensor{start:} [id A]", "the output: the buffer from row 1 on"),
    ("Scan{warm_up", "the loop"),
    ("Subtensor{i} [id C]", "1st input of Scan, n_steps: rows of seq"),
    ("Subtensor{:stop}", "2nd: the sequence, cut to n_steps rows"),
    ("SetSubtensor{:stop}", "3rd: the buffer of the state, made from"),
    ("AllocEmpty", "  memory that nobody has filled yet,"),
    ("Add", "  as many rows as steps, plus one,"),
    ("Subtensor{i} [id S]", "  as wide as the start,"),
    ("ExpandDims", "  and the start, put into the first row"),
    ("factor", "4th: the non-sequence"),
    ("1 [id W]", "where the output begins: row 1"),
    ("Scan{warm_up", "one step of the loop"),
    ("Add", "what the step returns"),
    ("i0", "fn's 1st argument: the slice of I"),
    ("Mul", "times"),
    ("i1", "fn's 2nd: the past row of the buffer K"),
    ("i2", "fn's 3rd: factor, the same in each step"),
]


def read_the_graph() -> dict[str, object]:
    """Print the graph of a scan with a note beside each line that matters."""
    seq, start, factor = pt.dmatrix("seq"), pt.dvector("start"), pt.dscalar("factor")
    [states] = pytensor.scan(
        lambda seq_t, prior, factor: seq_t + prior * factor,
        sequences=[seq],
        outputs_info=[start],
        non_sequences=[factor],
        name="warm_up",
        **SAFE,
    )
    graph = pytensor.dprint(states, file="str")
    waiting = list(NOTES)
    for line in graph.rstrip().splitlines():
        if waiting and waiting[0][0] in line:
            print(f"  {line:<55} # {waiting.pop(0)[1]}")
        else:
            print(f"  {line}".rstrip())
    description = explain.describe(states)
    print(f"\nexplain.describe(states):\n{description}")
    return {"graph": graph, "notes_left": waiting, "description": description}


# %% [markdown]
# ## 19. The loop, folded up and rolled out
#
# The picture of part 2. On the left the loop as you write it: one step, and an arrow that leads
# back into it. On the right the same loop in time: the step is drawn once per row of the sequence,
# and each state is handed to the step on its right.


# %%
def draw_unrolled(run: dict[str, np.ndarray], folder: Path) -> Path:
    """Draw the loop of part 2 with its values.

    Parameters
    ----------
    run
        What `warm_up_sequence` returned: the keys sequence, start and scan are used.
    folder
        Where the figure goes.
    """
    blue, orange, green, grey = "#2b6cb0", "#b7500f", "#2f7a4f", "#4a5568"
    width, height, middle = 3.6, 1.9, 4.2  # of the boxes, in units of the axes

    figure = plt.figure(figsize=(8.6, 3.9))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 23.5), ylim=(0, 10.2))
    axes.axis("off")

    def write(x, y, text, colour, size=11):
        axes.text(x, y, text, ha="center", va="center", color=colour, fontsize=size)

    def arrow(tail, head, colour, bend=0.0):
        line = {"linewidth": 1.8, "color": colour, "shrinkA": 0, "shrinkB": 0}
        shape = {"arrowstyle": "-|>", "mutation_scale": 14, "connectionstyle": f"arc3,rad={bend}"}
        axes.add_patch(FancyArrowPatch(tail, head, **shape, **line))

    def step(x, inside, below, above):
        corner = (x - width / 2, middle - height / 2)
        paint = {"facecolor": "#fff8ec", "edgecolor": grey}
        rounded = "round,pad=0,rounding_size=0.25"
        axes.add_patch(FancyBboxPatch(corner, width, height, boxstyle=rounded, **paint))
        write(x, middle, inside, "black")
        arrow((x, 2.0), (x, middle - height / 2), blue)
        arrow((x, middle + height / 2), (x, 6.4), green)
        write(x, 1.2, below, blue)
        write(x, 7.2, above, green)

    def as_text(vector):
        return "[" + ", ".join(f"{number:g}" for number in vector) + "]"

    # the loop as it is written
    x, right_side = 2.2, 2.2 + width / 2
    write(3.1, 9.7, "folded: what you write", grey, 12)
    step(x, "seq_t\n+ 2 · prior", "seq_t", "the new state")
    arrow((right_side, middle + 0.55), (right_side, middle - 0.55), orange, bend=-1.5)
    write(right_side + 1.2, middle + 1.2, "prior of the\nnext step", orange)
    axes.plot([6.85, 6.85], [0.4, 9.9], color="#cbd5e0", linewidth=1)

    # the same loop in time
    write(15.2, 9.7, "rolled out: what runs", grey, 12)
    write(15.2, 8.75, "scan returns the green rows; the start is not among them", green)
    prior, name, tail = run["start"], "start", 7.35
    for t, (row, state) in enumerate(zip(run["sequence"], run["scan"], strict=True)):
        x = 11.55 + 5.0 * t
        inside = f"{as_text(row)}\n+ 2 · {as_text(prior)}"
        step(x, inside, f"seq[{t}]\n{as_text(row)}", f"states[{t}]\n{as_text(state)}")
        head = x - width / 2
        arrow((tail, middle), (head, middle), orange)
        write((tail + head) / 2, middle + 0.55, name, orange)
        write((tail + head) / 2, middle - 0.55, as_text(prior), orange)
        prior, name, tail = state, "prior", x + width / 2
    return _lesson.save_figure(figure, folder, "01_scan_unrolled")


# %% [markdown]
# What to notice: the three boxes are one and the same small graph. Only what flows into it differs.

# %% [markdown]
# ## The whole lesson


# %%
def main(
    mode: str = "FAST_COMPILE", seed: int = 1, figures: str = "figures", quick: bool = False
) -> None:
    """Run the lesson from top to bottom.

    Parameters
    ----------
    mode
        How PyTensor compiles: FAST_COMPILE, CVM or NUMBA. The mistakes that NUMBA does not catch
        are compiled with FAST_COMPILE always.
    seed
        Where the random numbers of part 16 begin.
    figures
        The folder for the figure.
    quick
        Puts the figure into the folder quick, and changes nothing else: the lesson takes seconds.
    """
    folder = _lesson.figure_folder(figures, quick)

    print("1. Warm-up: doubling")
    warm_up_doubling(mode)
    print("\n2. Warm-up: a sequence and a state")
    run = warm_up_sequence(mode)
    print("\n3. Which argument of fn is which")
    order_of_arguments()
    print("\n4. One sequence")
    one_sequence(mode)
    print("\n5. Several sequences")
    several_sequences(mode)
    print("\n6. Taps of a sequence")
    sequence_taps(mode)
    print("\n7. The start of a state")
    start_of_a_state(mode)
    print("\n8. Type and shape of the start")
    type_and_shape_of_the_start()
    print("\n9. Fed back or not")
    fed_back_or_not(mode)
    print("\n10. Taps of an output")
    output_taps(mode)
    print("\n11. Non-sequences and strict")
    non_sequences_and_strict(mode)
    print("\n12. The number of steps")
    number_of_steps(mode)
    print("\n13. Backwards")
    backwards(mode)
    print("\n14. Until")
    until_loop(mode)
    print("\n15. Several outputs and return_list")
    several_outputs(mode)
    print("\n16. Random numbers")
    random_numbers(mode, seed)
    print("\n17. Gradients")
    gradients(mode)
    print("\n18. How to read the graph of a scan")
    read_the_graph()
    print("\n19. The loop, folded up and rolled out")
    draw_unrolled(run, folder)
    _lesson.show_figures()


if __name__ == "__main__":
    _lesson.run(
        main,
        help={
            "mode": "how PyTensor compiles: FAST_COMPILE, CVM or NUMBA",
            "seed": "where the random numbers begin",
            "figures": "the folder for the figure",
            "quick": "the same lesson: it takes seconds",
        },
    )
