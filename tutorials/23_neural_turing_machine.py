"""Lesson 23: a neural Turing machine - a net with a memory beside it, which it reads and writes

What you learn
    How a net can have a memory that is no part of its weights: heads that say where to read and
    where to write, softly, so that all of it has a gradient. Addressing by content and by shifts,
    step by step; a copy made by orders given by hand; and a machine that finds such orders itself.

What you should see
    Five numbered parts and six figures. A copy made by orders has no wrong bit. Then a machine
    that learns from up to 20 vectors to copy, and copies 40, twice as many as it has ever seen,
    with hardly a bit wrong; an LSTM with more weights that has learnt from the same has 38 % wrong
    at 20 and 45 % at 40 (guessing: 50 %). In 23_copy_40.png diagonals show how: each vector into
    the next slot, and out of it in the same order. At the end it copies several times over.

How long it takes (measured on two cores)
    One and a half minutes. The first time some three minutes more, for mode NUMBA compiles the
    machine's graph, which is large: it lies on disk afterwards. With --quick some 10 seconds,
    without learning anything.

What you need to know
    Lesson 1 has scan, lesson 8 the LSTM, lesson 17 attention, which a head does to the memory.

The file is a script and a notebook: editors that know `# %%` cells open it as one. There, run the
cells from the top; the last one runs the whole lesson.
"""

# %%
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy: small products, one thread

from collections.abc import Iterator
from typing import Any, NamedTuple

import _lesson
import matplotlib.pyplot as plt
import numpy as np
import pytensor
import pytensor.tensor as pt

import symrnn as sr
from symrnn import plots
from symrnn.models.ntm.heads import HeadParameters
from symrnn.models.ntm.model import answer_loss
from symrnn.tasks.copying import copying, copying_batches, repeat_copying

BLUE, ORANGE, GREY = "#2b6cb0", "#c2570c", "#555555"
Array = np.ndarray[Any, Any]
TINY = 1e-6

# %% [markdown]
# ## 1. Where a head goes
#
# An LSTM remembers in the units that also compute: a longer memory means more weights. A neural
# Turing machine (Graves et al., 2014) has a memory of its own, M, with slots that each hold a
# vector, and heads that move over it. Where a head is, is a *weighting* w: how much
# of it is at each slot, positive, in all 1. So it has a gradient. At each step it gets orders from
# the net:
#
# - a key k and its strength beta: w_c = softmax(beta cos(k, M)), where the content fits. That is
#   attention, lesson 17;
# - a gate g: w_g = g w_c + (1 - g) w_before. 1 goes there, 0 stays where it was;
# - shifts s, a distribution over one back, stay, one on: w~(i) = sum_j s(j) w_g(i - j), so that
#   what follows can be reached without knowing what it holds;
# - gamma, which sharpens: w(i) = w~(i)^gamma / sum_j w~(j)^gamma. Soft shifts blur a little each
#   time.
#
# The cell below does these in NumPy for a memory of six slots: find the slot whose content is the
# key, then go one on. `Heads.address` of the library is the same, for all heads of a batch.


# %%
def softmax(z: Array) -> Array:
    """Shares of 1 that grow with z."""
    e = np.exp(z - z.max())
    return e / e.sum()


def stages(
    M: Array, w: Array, k: Array, beta: float, g: float, s: Array, gamma: float
) -> dict[str, Array]:
    """The weighting of a head, from before to after."""
    cosine = [k @ m / np.sqrt((k @ k + TINY) * (m @ m + TINY)) for m in M]
    w_c = softmax(beta * np.array(cosine))
    w_g = g * w_c + (1 - g) * w
    w_s = s[0] * np.roll(w_g, -1) + s[1] * w_g + s[2] * np.roll(w_g, 1)
    sharp = (w_s + TINY) ** gamma
    return {
        "before": w, "content": w_c, "gate": w_g, "shift": w_s, "sharpened": sharp / sharp.sum(),
    }  # fmt: skip


@pytensor.config.change_flags(floatX="float64")
def addressing(seed: int) -> dict[str, Array]:
    """Go to the slot that holds the key, and one on; print it, and compare with the library."""
    rng = np.random.default_rng(seed)
    M = rng.choice([-1.0, 1.0], (6, 8)) * rng.uniform(0.5, 1, (6, 8))
    w, s = np.eye(6)[0], np.array([0.02, 0.03, 0.95])
    k, beta, g, gamma = M[3], 8.0, 0.95, 3.0
    found = stages(M, w, k, beta, g, s, gamma)
    for name, weighting in found.items():
        print(f"  {name:<10}" + "".join(f"{share:7.3f}" for share in weighting))
    machine = sr.NeuralTuringMachine(1, 1, 1, rng=rng, n_slots=6, width=8)
    numbers = {"k": k, "beta": [beta], "g": [g], "s": s, "gamma": [gamma], "e": k, "a": k}
    parameters = HeadParameters(
        **{n: pt.as_tensor_variable(np.array([[v]])) for n, v in numbers.items()}
    )
    library = machine.heads.address(parameters, w[None, None], pt.as_tensor_variable(M[None]))
    difference = abs(library.eval(mode=sr.QUICK)[0, 0] - found["sharpened"]).max()
    print(f"  the library's differs by {difference:.0e}")
    assert difference < 1e-12, difference
    return found


def draw_stages(found: dict[str, Array]) -> Any:
    """The weighting after each stage."""
    figure, axes = plt.subplots(1, 5, figsize=(11, 2.2), sharey=True, layout="constrained")
    for ax, (name, weighting) in zip(axes, found.items(), strict=True):
        ax.bar(range(len(weighting)), weighting, color=BLUE)
        ax.set(title=name, xlabel="slot", xticks=range(len(weighting)), ylim=(0, 1))
    axes[0].set(ylabel="weighting")
    return figure


# %% [markdown]
# ## 2. A copy by hand
#
# A head that writes has two orders more: a vector e in (0, 1), what to erase, and a vector a, what
# to add. It does so as far as it is there, and a head that reads gets a mean:
#
#     M(i) <- M(i) (1 - w(i) e) + w(i) a          r = sum_i w(i) M(i)
#
# With that one can write programs. To copy: for each vector that comes in, go one slot on, erase
# what is there and add the vector. Then let the reading head, which has waited at the start, go one
# on at each step. The cell below is this program as a raw `pytensor.scan`. Its state is the memory
# and where the heads are; the orders are its sequences. There are no weights, and nothing is
# learnt.


# %%
def copy_by_hand(vectors: Array, n_slots: int) -> tuple[Array, Array, Array]:
    """Copy vectors, (length, width): what is read in all steps, and the heads' weightings."""
    length, width = vectors.shape
    zero, go = np.zeros(length), np.ones(length)
    write_goes = pt.as_tensor_variable(np.concatenate([go, zero]))  # 1: one slot on
    read_goes = pt.as_tensor_variable(np.concatenate([zero, go]))
    e = pt.as_tensor_variable(np.concatenate([go, zero]))  # erase all, or nothing
    a = pt.as_tensor_variable(np.concatenate([vectors, 0 * vectors]))

    def step(
        write_goes: Any, read_goes: Any, e: Any, a: Any, M: Any, w_write: Any, w_read: Any
    ) -> list[Any]:
        w_write = write_goes * pt.roll(w_write, 1) + (1 - write_goes) * w_write
        w_read = read_goes * pt.roll(w_read, 1) + (1 - read_goes) * w_read
        M = M * (1 - w_write[:, None] * e) + w_write[:, None] * a
        return [M, w_write, w_read, w_read @ M]

    start = np.eye(n_slots)[0]
    _, *results = pytensor.scan(
        step,
        sequences=[write_goes, read_goes, e, a],
        outputs_info=[np.zeros((n_slots, width)), start, start, None],
        strict=True,
        return_list=True,
        return_updates=False,
    )
    w_write, w_read, r = sr.function([], results)()
    return r, w_write, w_read


def by_hand(seed: int) -> float:
    """Copy random vectors by hand; return the largest error."""
    vectors = np.random.default_rng(seed).integers(2, size=(5, 4)).astype(float)
    r, w_write, w_read = copy_by_hand(vectors, n_slots=8)
    print("  in                " + "  ".join("".join(f"{b:.0f}" for b in v) for v in vectors))
    print("  read at the end   " + "  ".join("".join(f"{b:.0f}" for b in v) for v in r[5:]))
    print(f"  slots written {w_write.argmax(axis=1)[:5]}, slots read {w_read.argmax(axis=1)[5:]}")
    error = float(abs(r[5:] - vectors).max())
    assert error == 0, error
    return error


# %% [markdown]
# ## 3. To learn it
#
# Now the orders come from a net, the *controller*: an LSTM that sees x_t and what was read last,
# and a linear layer from its output to all orders. A machine is a scan whose state are M, all
# weightings, and the LSTM's h and c. `NeuralTuringMachine.run` is that scan, and returns all that
# happens in it as ordinary variables.
#
# The task: some random vectors of 8 bits, a mark, and then they are to be said again, bit by bit.
# Each batch has a length of its own, at first up to 3, then up to 6 and up to 20, and the learning
# rate is lower at the end. Beside the machine stands an LSTM alone, with more weights, and the same
# batches. Both are then asked for copies of other lengths too.
#
# At first all slots hold 1e-6 and the heads are at slot 0, which Collier and Beel (2018) found to
# help: the machine learns faster from a constant memory than from one that is random or learnt.


# %%
class Stage(NamedTuple):
    """A part of a training."""

    n_batches: int
    longest: int  # from 1 to so many vectors
    learning_rate: float
    most: int = 1  # from 1 to so many times, in repeated copies


class Plan(NamedTuple):
    """The tasks, the nets, and how they are trained."""

    n_bits: int
    n_slots: int
    width: int
    n_hidden: int  # of the machine's controller
    n_lstm: int  # of the LSTM alone
    batch_size: int
    copies: tuple[Stage, ...]
    lengths: tuple[int, ...]  # to test
    repeats: tuple[Stage, ...]
    repeat_tests: tuple[tuple[int, int], ...]  # to test: so many vectors, so many times


COPIES = Stage(500, 3, 0.003), Stage(500, 6, 0.003), Stage(1250, 20, 0.003), Stage(500, 20, 0.001)
REPEATS = Stage(1000, 3, 0.003, 3), Stage(2500, 5, 0.002, 5), Stage(1000, 5, 0.0005, 5)
DEFAULT = Plan(
    n_bits=8, n_slots=64, width=16, n_hidden=64, n_lstm=128, batch_size=16, copies=COPIES,
    lengths=(5, 10, 20, 30, 40), repeats=REPEATS, repeat_tests=((5, 5), (10, 5), (5, 10)),
)  # fmt: skip
SMALL = Plan(
    n_bits=2, n_slots=6, width=3, n_hidden=6, n_lstm=8, batch_size=4,
    copies=(Stage(3, 2, 0.01), Stage(3, 3, 0.01)), lengths=(2, 4),
    repeats=(Stage(5, 2, 0.01, 2),), repeat_tests=((2, 2), (4, 2)),
)  # fmt: skip
NETS = ("machine", "LSTM")


class PlainLSTM(sr.Module):
    """An LSTM and a linear layer, with the same functions as the machine."""

    def __init__(self, n_in: int, n_out: int, n_hidden: int, *, rng: np.random.Generator) -> None:
        self.cell = sr.LSTMCell(n_in, n_hidden, rng=rng)
        self.output = sr.Dense(n_hidden, n_out, rng=rng)

    def logits(self, x: Any) -> Any:
        """Of all steps, (time, batch, n_out)."""
        return self.output(sr.unroll(self.cell, x)[0])


class Learner(NamedTuple):
    """A net and what it is used with."""

    step: Any  # (x, t) -> loss
    run: Any  # x -> [logits, write, read], or only the logits
    learning_rate: Any  # of the optimizer, to be set
    n_weights: int


def make(name: str, plan: Plan, seed: int, mode: Any) -> Learner:
    """Make a net and compile its functions, which serve for both tasks."""
    rng = np.random.default_rng(seed)
    n = plan.n_bits + 1  # the last one is for marks
    x, t = pt.tensor3("x"), pt.tensor3("t")
    if name == "machine":
        net: Any = sr.NeuralTuringMachine(
            n, n, plan.n_hidden, rng=rng, n_slots=plan.n_slots, width=plan.width
        )
        trace = net.run(x)
        outputs = [trace.logits, trace.write[:, :, 0], trace.read[:, :, 0]]
    else:
        net = PlainLSTM(n, n, plan.n_lstm, rng=rng)
        outputs = [net.logits(x)]
    loss = answer_loss(outputs[0], t)
    gradients = sr.clip_by_global_norm(pytensor.grad(loss, net.params), 10.0)
    first = np.asarray(plan.copies[0].learning_rate, pytensor.config.floatX)
    learning_rate = pytensor.shared(first, name="learning_rate")
    updates = sr.adam(gradients, net.params, learning_rate)
    step = sr.function([x, t], loss, updates=updates, mode=mode)
    run = sr.function([x], outputs, mode=mode)
    return Learner(step, run, learning_rate, net.n_params)


def with_marks(batch: tuple[Array, Array]) -> tuple[Array, Array]:
    """A batch of `copying`, whose answer gets a last feature too: it stays 0."""
    x, t = batch
    return x, np.pad(t, [(0, 0), (0, 0), (0, 1)])


def wrong_share(learner: Learner, x: Array, t: Array, n_features: int) -> float:
    """Which share of the answer's bits, of the first so many features, is wrong."""
    said = learner.run(x)[0][-len(t) :, :, :n_features] > 0
    return float(np.mean(said != (t[:, :, :n_features] > 0.5)))


class Run(NamedTuple):
    """One training."""

    loss: list[float]  # of each step
    wrong: dict[Any, float]  # the share of wrong bits of new sequences
    pictures: dict[Any, tuple[Any, ...]]  # x, t, p, write, read of one sequence each
    seconds: float


def train_on(learner: Learner, label: str, plan: Plan, seed: int, repeats: bool) -> Run:
    """Train a net on a task, stage after stage, and test it."""
    sizes: dict[str, Any] = {"n_bits": plan.n_bits, "dtype": pytensor.config.floatX}
    rng, test = np.random.default_rng(seed), np.random.default_rng(seed + 1)
    tests: dict[Any, tuple[Array, Array]]

    stages = plan.repeats if repeats else plan.copies

    def batches() -> Iterator[tuple[Array, Array]]:
        for n_batches, longest, learning_rate, most in stages:
            learner.learning_rate.set_value(np.asarray(learning_rate, pytensor.config.floatX))
            times = (1, most) if repeats else None
            drawn = copying_batches(
                n_batches,
                rng=rng,
                batch_size=plan.batch_size,
                lengths=(1, longest),
                repeats=times,
                **sizes,
            )
            yield from drawn if repeats else map(with_marks, drawn)

    n_steps = sum(stage.n_batches for stage in stages)
    history = sr.train(learner.step, batches, steps=n_steps, label=label)
    if history.interrupted:
        raise KeyboardInterrupt
    if repeats:
        tests = {
            key: repeat_copying(*key, rng=test, n_samples=32, **sizes) for key in plan.repeat_tests
        }
    else:
        tests = {
            key: with_marks(copying(key, rng=test, n_samples=32, **sizes)) for key in plan.lengths
        }
    n = plan.n_bits + repeats
    wrong = {key: wrong_share(learner, *batch, n) for key, batch in tests.items()}
    pictures = {}
    for key, (x, t) in tests.items():
        logits, *heads = (result[:, 0] for result in learner.run(x[:, :1]))
        pictures[key] = (x[:, 0], t[:, 0, :n], 1 / (1 + np.exp(-logits[:, :n])), *heads)
    return Run(history.loss, wrong, pictures, history.seconds)


def report(name: str, learner: Learner, run: Run) -> None:
    """Print what came of a net."""
    wrong = "".join(f"{100 * share:9.2f}" for share in run.wrong.values())
    last = float(np.mean(run.loss[-100:]))
    print(f"  {name:<9}{learner.n_weights:9,}{run.seconds:9.0f}{last:9.4f}{wrong}", flush=True)


def draw_training(runs: dict[str, Run], plan: Plan) -> Any:
    """The loss, a mean over up to 50 steps, and wrong bits by length."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.8), layout="constrained")
    for (name, run), colour in zip(runs.items(), (ORANGE, BLUE), strict=False):
        n = max(1, min(50, len(run.loss) // 2))
        smooth = np.convolve(run.loss, np.full(n, 1 / n), "valid")
        left.plot(np.arange(n, n + len(smooth)), smooth, color=colour, label=name)
        right.plot(
            list(run.wrong), [100 * w for w in run.wrong.values()], "o-", color=colour, label=name
        )
    left.axhline(np.log(2), color=GREY, linestyle=":", linewidth=1)
    left.set(xlabel="step", ylabel="loss in nats per bit (dotted: guessing)", ylim=(0, None))
    right.axhline(50, color=GREY, linestyle=":", linewidth=1)
    right.axvspan(1, plan.copies[-1].longest, color="0.93", zorder=0)
    right.set(xlabel="vectors to copy (grey: learnt from)", ylabel="wrong bits, %", ylim=(-2, 55))
    for ax in (left, right):
        ax.grid(alpha=0.3)
        ax.legend(frameon=False)
    return figure


# %% [markdown]
# *What to notice.* For 1,850 batches both nets do about the same: they keep a few vectors in their
# hidden units, and the longer the sequence, the more is lost. (The loss rises where longer
# sequences come in.) Then the machine finds out what its memory is for, and within 150 batches
# leaves the LSTM far behind. At the end it has no bit wrong at any length, also at 40, twice as
# many vectors as it has ever copied. It has not memorised sequences, it has learnt a program.
# The LSTM, with two and a half times as many weights, has 4.8 % wrong at 5 vectors, 25.0 % at 10,
# 37.6 % at 20 and 44.6 % at 40: it is better at what it has room for.
#
# Such a program is learnt all at once, and when it is found is a matter of luck, and of short
# sequences at the beginning. In trials with sequences of 1 to 20 from the first batch on, seed 1
# found it after 1,600 batches, and seed 2 had not after 2,000; it had 42.8 % of the bits wrong at
# 40 vectors. As it is here, `--seed 2` ends with 0.3 % wrong at 20 vectors and 0.7 % at 40. And no
# two machines round alike: a run of the same seed with code compiled anew had 0.01 % wrong at 40.
#
# ## 4. What it does
#
# 23_copy_20.png shows one sequence: what comes in, what is due, what the machine says (a red cross
# where a bit is wrong), and where it writes and reads. While vectors come in, the writing head goes
# on by one slot at each step; the reading head waits at the first vector, and after the mark goes
# on too: the program of part 2. (That the writing head goes on when there is nothing more to write,
# and with 40 vectors comes round to slot 0, does no harm: it has nothing to say.) 23_copy_30.png
# and 23_copy_40.png have the same with more vectors.
#
# ## 5. Again and again
#
# A machine that can copy could do so several times over. In the task of repeated copies the mark is
# how many times the vectors are to be said, and after the last time a mark is due: so it has to
# count too. With the mark 1 it is the task of part 3, and the same machine goes on from what it has
# learnt there: with up to 3 vectors, up to 3 times, and then with up to 5 of both.
#
# This is harder: at the end of each time the reading head has to jump back to the start, which
# takes a key, and no shift.
#
# *What to notice.* In 23_repeat_copy.png the reading head goes through the vectors and jumps back.
# With 5 vectors, 5 times, less than 0.1 % of the bits are wrong (0.5 % with `--seed 2`). With 10
# vectors, which it has not learnt from, it is 1 to 2 % (5 %): to go on and to jump back is a
# program, and holds for any length. (Not always: a run whose rounding differed had 42 %.) But with
# 5 vectors 10 times it is 6 to 10 % (15 %): it says them well, and loses count. Graves et al.
# (2014) found the same. A number that comes in is no program: what 10 is like has to be learnt.
#
# How the number comes in matters too. In a trial where the mark was a tenth of it, so that no mark
# was like that of part 3, 8 to 40 % were wrong after 2,500 batches with 5 vectors, 5 times. And the
# learning rates: with 0.001 in place of 0.002 in the middle, `--seed 2` ended with 20 % wrong.
#
# ## Try it
#
# - `--seed 3`: does the machine learn as fast?
# - In `make`, `n_heads=2`: does it use both?
# - In `DEFAULT`, `n_slots=24`: what happens with 40 vectors, and what does 23_copy_40.png show?


# %%
@pytensor.config.change_flags(floatX="float32")
def main(
    mode: str | None = None,
    seed: int = 1,
    figures: str = "figures",
    quick: bool = False,
) -> dict[str, Any]:
    """Run the lesson; return what its parts found."""
    plan = SMALL if quick else DEFAULT
    folder = _lesson.figure_folder(figures, quick)

    print("1. Where a head goes")
    weightings = addressing(seed)
    _lesson.save_figure(draw_stages(weightings), folder, "23_addressing")

    print("\n2. A copy by hand")
    error = by_hand(seed)

    print("\n3. To learn it")
    for n_batches, longest, learning_rate, _ in plan.copies:
        print(f"  {n_batches:,} batches of up to {longest} vectors, learning rate {learning_rate}")
    nets = NETS[:1] if quick else NETS
    # the machine's loop has no kernel: a scan, in whose steps NumPy is called some hundred times
    modes = {"machine": mode or ("QUICK" if quick else "NUMBA"), "LSTM": mode}
    if not quick:
        print(f"  compiling for mode {modes['machine']} (minutes the first time)", flush=True)
    learners = {name: make(name, plan, seed, modes[name]) for name in nets}
    print(f"  {'wrong bits, %, of so many vectors':<36}" + "".join(f"{n:>9}" for n in plan.lengths))
    print(f"  {'net':<9}{'weights':>9}{'seconds':>9}{'loss':>9}", flush=True)
    runs = {}
    for name, learner in learners.items():
        runs[name] = train_on(learner, name, plan, seed, repeats=False)
        report(name, learner, runs[name])
    _lesson.save_figure(draw_training(runs, plan), folder, "23_training")

    print("\n4. What it does")
    for length in plan.lengths[-3:]:
        axes = plots.memory_use(*runs["machine"].pictures[length])
        _lesson.save_figure(axes[0].figure, folder, f"23_copy_{length}")

    print("\n5. Again and again")
    run = train_on(learners["machine"], "repeats", plan, seed, repeats=True)
    for (length, times), wrong in run.wrong.items():
        print(f"  {length:>2} vectors {times:>2} times: {100 * wrong:.2f} % of the bits wrong")
    axes = plots.memory_use(*next(iter(run.pictures.values())))
    _lesson.save_figure(axes[0].figure, folder, "23_repeat_copy")
    _lesson.show_figures()
    return {
        "weightings": weightings, "error": error, "runs": runs, "repeated": run, "plan": plan,
        "learners": learners,
    }  # fmt: skip


if __name__ == "__main__":
    _lesson.run(
        main,
        help={
            "mode": "how PyTensor compiles (default: NUMBA for the machine; with --quick QUICK)",
            "seed": "of the initial weights and of all sequences",
            "figures": "folder for the figures",
            "quick": "short sequences, small nets, nothing compiled: too little to learn anything",
        },
    )
