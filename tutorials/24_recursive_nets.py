"""Lesson 24: recursive nets - a net that has the form of its input

What you learn
    How a net follows a tree: arithmetic expressions as trees, a tree as a schedule, and a schedule
    as a scan whose state is a table. What that is worth beside an LSTM that reads the same
    expression as text, also for expressions deeper than all that were learnt from.

What you should see
    Four numbered parts and two figures. Of new expressions as deep as the deepest that were learnt
    from, a tree LSTM gets 87 % right, and an LSTM with more weights that reads them as text 23 %;
    two levels deeper it is 53 % and 15 % (guessing: 10 %). 24_tree.png shows what the net says at
    each node of a still deeper one.

How long it takes (measured on two cores)
    Under two minutes; nothing is compiled, so the first time is no longer. With --quick some 8
    seconds.

What you need to know
    Lesson 1 has scan, lesson 8 the LSTM, lesson 9 masks.

The file is a script and a notebook: editors that know `# %%` cells open it as one. There, run the
cells from the top; the last one runs the whole lesson.
"""

# %%
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy: small products, one thread

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import _lesson
import matplotlib.pyplot as plt
import numpy as np
import pytensor
import pytensor.tensor as pt

import symrnn as sr
from symrnn import plots
from symrnn.models.recursive import TreeCell, TreeLSTMCell
from symrnn.tasks.expressions import (
    CHARACTERS,
    SYMBOLS,
    Expression,
    expressions,
    node_values,
    parse,
    schedule,
    text_tokens,
)

BLUE, ORANGE, GREEN, RED = "#2b6cb0", "#c2570c", "#2f7d32", "#b91c1c"
Array = np.ndarray[Any, Any]

# %% [markdown]
# ## 1. A tree as a schedule
#
# "(2+3)*(4-1)" is a row of characters, and it is a tree: a product, with a sum on its left and a
# difference on its right. Who computes its value goes through the tree from the leaves to the
# root. A recursive net (Socher et al., 2011) does the same with vectors: each node gets one, made
# of the symbol that stands there and of the vectors of its two children, always with the same
# weights. At the root a classifier says what the whole is.
#
# A function that calls itself would be the natural program for that. But a scan is a loop, with as
# many steps for all samples of a batch. So the tree is put into a row first: in *post-order*, the
# left tree, the right tree, then the node itself, all children come before their parents. The row,
# with the positions of the children, is the schedule. Step t fills row t of a table; row 0 stays
# zero, for children that are not there.


# %%
def show_schedule(text: str) -> Expression:
    """Print the schedule of an expression, a step in each line."""
    tree = parse(text)
    plan = schedule([tree])
    print(f"  {text} = {tree.value()}, depth {tree.depth}")
    print("  step   symbol   left   right   the tree below it")
    for t, node in enumerate(tree.nodes()):
        left, right = plan.children[t, 0]
        row = f"{left:>6}{right:>8}" if left else f"{'-':>6}{'-':>8}"
        print(f"  {t + 1:>4}{node.symbol:>9}{row}   {node} = {node.value()}")
    return tree


# %% [markdown]
# ## 2. By hand
#
# The simplest net of this kind has at each node
#
#     h = tanh(E[x] + [h_l h_r] U + b)
#
# with x the symbol, and h_l and h_r the vectors of the children. The cell below has it three times:
# as a recursion in NumPy, as a `pytensor.scan` over the schedule, and as the library's.
#
# What is new in the scan is its state. An ordinary recurrent net needs what the last step has made.
# Here a step needs what two steps have made that can be long ago, and the state is the whole table,
# shape (batch, nodes + 1, n). Each step takes two of its rows, T[trees, left], and returns the
# table with one more row filled, `pt.set_subtensor(T[:, t + 1], h)`. The gradient of all that is
# automatic, as ever.


# %%
def by_recursion(weights: Sequence[Array], tree: Expression) -> Array:
    """The vector of a tree, in NumPy."""
    E, U, b = weights
    if tree.left is None or tree.right is None:
        children = np.zeros(len(U))
    else:
        children = np.concatenate([by_recursion(weights, t) for t in (tree.left, tree.right)])
    return np.tanh(E[SYMBOLS.index(tree.symbol)] + children @ U + b)


def by_scan(weights: Sequence[Any], symbols: Any, children: Any) -> Any:
    """The table of all nodes, as a graph: (batch, nodes + 1, n)."""
    E, U, b = map(pt.as_tensor_variable, weights)
    time, batch = symbols.shape

    def step(t: Any, symbols_t: Any, children_t: Any, T: Any, E: Any, U: Any, b: Any) -> Any:
        trees = pt.arange(batch)
        h_l, h_r = T[trees, children_t[:, 0]], T[trees, children_t[:, 1]]
        h = pt.tanh(E[symbols_t] + pt.concatenate([h_l, h_r], axis=1) @ U + b)
        return pt.set_subtensor(T[:, t + 1], h)

    tables = pytensor.scan(
        step,
        sequences=[pt.arange(time), symbols, children],
        outputs_info=[pt.zeros((batch, time + 1, b.shape[0]))],
        non_sequences=[E, U, b],
        strict=True,
        return_updates=False,
    )
    return tables[-1]


@pytensor.config.change_flags(floatX="float64")
def three_ways(seed: int, n: int = 5) -> list[Array]:
    """The vectors of a few trees: by recursion, by a scan of all at once, by the library."""
    rng = np.random.default_rng(seed)
    trees = [parse("(2+3)*(4-1)"), parse("7"), *expressions(6, rng=rng, depths=(0, 4))]
    net = sr.RecursiveNet(len(SYMBOLS), 2, n, rng=rng, cell=TreeCell)
    weights = [w.get_value() for w in net.cell.params]
    plan = schedule(trees)
    symbols, children = pt.as_tensor_variable(plan.symbols), pt.as_tensor_variable(plan.children)
    graphs = [by_scan(weights, symbols, children), net.nodes(symbols, children).h]
    tables = sr.function([], graphs)()
    found = [np.array([by_recursion(weights, tree) for tree in trees])]
    found += [table[np.arange(len(trees)), plan.roots] for table in tables]
    largest = max(abs(found[0] - other).max() for other in found[1:])
    print(
        f"  {len(trees)} trees, {plan.symbols.shape[0]} steps; recursion, scan and library differ"
    )
    print(f"  by {largest:.0e}")
    assert largest < 1e-12, largest
    return found


# %% [markdown]
# ## 3. A tree and a row of characters
#
# Now to learn something: the last digit of the value, as one of ten classes (that of -3 is 7, as in
# Python's %). Expressions of digits, + - and *, with all parentheses, of depth 1 to 3. Each part of
# an expression is one too, and the nets are told what it is worth, as in the treebank of Socher et
# al. (2013), where the sentiment of each phrase is known. The two nets are
#
# - a tree LSTM (Tai et al., 2015): the net of part 2, but at each node with a memory cell that
#   adds up what it keeps of the left child, of the right child, and something new:
#   c = i * g + f_l * c_l + f_r * c_r. It says a digit at each node; and
# - an LSTM that reads the same expressions as text, from left to right, with all parentheses, and
#   says the same digits: each after the character where that part ends, a digit or a ")". So both
#   are told as much. It has more weights.
#
# Both have the same expressions in the same order, as often, and the same optimizer. They are
# tested with others of each depth, also depths that have not been learnt from. But what is asked at
# depth 1 or 2 may be a part of something that was learnt from, with its digit told; the table says
# which share is. At depth 1, with only 300 expressions, it is all of them: there the nets say what
# they have memorised, and from depth 3 on all is new.


# %%
class Plan(NamedTuple):
    """The data, the nets, and how they are trained."""

    n_train: int
    n_test: int  # of each depth
    depths: tuple[int, int]  # to learn from
    deepest: int  # to test with
    n_hidden: int  # of the tree LSTM
    n_flat: int  # of the LSTM
    batch_size: int
    learning_rate: float
    epochs: int


DEFAULT = Plan(10_000, 300, (1, 3), 6, 64, 128, 100, 0.005, 8)
SMALL = Plan(150, 20, (1, 2), 3, 8, 12, 50, 0.01, 1)
MODULUS = 10
NETS = ("tree LSTM", "LSTM on the text")


class TextNet(sr.Module):
    """An LSTM that reads characters and says a class after each one."""

    def __init__(self, n_hidden: int, *, rng: np.random.Generator) -> None:
        self.embedding = sr.Embedding(len(CHARACTERS), 16, rng=rng)
        self.cell = sr.LSTMCell(16, n_hidden, rng=rng)
        self.output = sr.Dense(n_hidden, MODULUS, rng=rng)

    def logits(self, tokens: Any, mask: Any) -> Any:
        """What it says after each character, (time, batch, classes)."""
        return self.output(sr.unroll(self.cell, self.embedding(tokens), mask=mask)[0])


def tree_batch(trees: Sequence[Expression]) -> tuple[Array, ...]:
    """Symbols, children, roots, and the digits of all nodes."""
    return *schedule(trees), node_values(trees, modulus=MODULUS)


def text_batch(trees: Sequence[Expression]) -> tuple[Array, ...]:
    """Tokens, mask, where a part ends, and the digits there: in post-order, as in the tree."""
    tokens, mask = text_tokens(trees)
    ends = mask & ((tokens < 10) | (tokens == CHARACTERS.index(")")))
    digits = np.zeros(tokens.shape, dtype=np.int64)
    for k, tree in enumerate(trees):
        digits[ends[:, k], k] = values(list(tree.nodes()))
    return tokens, mask, ends, digits


def tree_functions(net: sr.RecursiveNet, optimizer: Any, mode: Any) -> tuple[Any, Any]:
    """A training step, and the digits of whole expressions."""
    answer = net.compile_classes(mode=mode)
    step = net.compile_training(optimizer, every_node=True, mode=mode)
    return step, lambda trees: answer(*schedule(trees))


def text_functions(net: TextNet, optimizer: Any, mode: Any) -> tuple[Any, Any]:
    """The same of the LSTM."""
    tokens, digits = pt.lmatrix("tokens"), pt.lmatrix("digits")
    mask, ends = pt.matrix("mask", dtype="bool"), pt.matrix("ends", dtype="bool")
    logits = net.logits(tokens, mask)
    loss = sr.categorical_cross_entropy(logits, digits, mask=ends)
    updates = optimizer(loss, net.params)
    step = sr.function([tokens, mask, ends, digits], loss, updates=updates, mode=mode)
    read = sr.function([tokens, mask], logits.argmax(axis=2), mode=mode)

    def answer(trees: Sequence[Expression]) -> Array:
        said, (_, mask, *_) = read(*text_tokens(trees)), text_batch(trees)
        return np.array(said[mask.sum(axis=0) - 1, np.arange(len(trees))])

    return step, answer


def values(trees: Sequence[Expression]) -> Array:
    """The classes of expressions: the last digits of their values."""
    return np.array([tree.value(MODULUS) for tree in trees])


def batches(
    trees: Sequence[Expression], as_arrays: Any, size: int, rng: np.random.Generator
) -> Iterator[tuple[Any, ...]]:
    """The batches of an epoch: in random order, but those of about one size together."""
    order = rng.permutation(len(trees))
    for start in range(0, len(order), 20 * size):
        some = sorted(
            (trees[k] for k in order[start : start + 20 * size]), key=lambda t: len(str(t))
        )
        for k in rng.permutation(-(-len(some) // size)):
            batch = some[k * size : (k + 1) * size]
            yield as_arrays(batch)


class Run(NamedTuple):
    """One training."""

    loss: list[float]  # in each epoch
    accuracy: list[dict[int, float]]  # after each epoch, for each depth
    seconds: float
    n_weights: int
    net: Any


def train_net(
    name: str, learn: list[Expression], tests: dict[int, list[Expression]], plan: Plan,
    seed: int, mode: Any,
) -> Run:  # fmt: skip
    """Train one of the nets."""
    rng, order = np.random.default_rng(seed), np.random.default_rng(seed)

    def optimizer(loss: Any, params: list[Any]) -> dict[Any, Any]:
        gradients = sr.clip_by_global_norm(pytensor.grad(loss, params), 5.0)
        return sr.adam(gradients, params, plan.learning_rate)

    if name == "tree LSTM":
        net: Any = sr.RecursiveNet(len(SYMBOLS), MODULUS, plan.n_hidden, rng=rng, cell=TreeLSTMCell)
        as_arrays: Any = tree_batch
        step, answer = tree_functions(net, optimizer, mode)
    else:
        net, as_arrays = TextNet(plan.n_flat, rng=rng), text_batch
        step, answer = text_functions(net, optimizer, mode)
    accuracy: list[dict[int, float]] = []

    def test(*_: Any) -> None:
        accuracy.append({d: np.mean(answer(trees) == values(trees)) for d, trees in tests.items()})

    history = sr.train(
        step, lambda: batches(learn, as_arrays, plan.batch_size, order), epochs=plan.epochs,
        label=name, each_epoch=test,
    )  # fmt: skip
    if history.interrupted:
        raise KeyboardInterrupt
    return Run(history.epoch_loss, accuracy, history.seconds, net.n_params, net)


def report(name: str, run: Run) -> None:
    """Print what came of a net."""
    accuracy = "".join(f"{100 * share:8.1f}" for share in run.accuracy[-1].values())
    print(f"  {name:<18}{run.n_weights:9,}{run.seconds:9.0f}{accuracy}", flush=True)


def draw_accuracy(runs: dict[str, Run], plan: Plan) -> Any:
    """The accuracy: of each depth at the end, and by epoch."""
    figure, (left, ax) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained", sharey=True)
    for (name, run), colour in zip(runs.items(), (ORANGE, BLUE), strict=True):
        depths, last = list(run.accuracy[-1]), run.accuracy[-1]
        left.plot(depths, [100 * last[d] for d in depths], "o-", color=colour, label=name)
        known = [np.mean([a[d] for d in depths if d <= plan.depths[1]]) for a in run.accuracy]
        new = [np.mean([a[d] for d in depths if d > plan.depths[1]]) for a in run.accuracy]
        epochs = np.arange(1, len(known) + 1)
        ax.plot(epochs, 100 * np.array(known), "o-", ms=3, color=colour,
                label=f"{name}, depths learnt from")  # fmt: skip
        ax.plot(epochs, 100 * np.array(new), "o--", ms=3, color=colour,
                label=f"{name}, deeper ones")  # fmt: skip
    left.axvspan(plan.depths[0] - 0.3, plan.depths[1] + 0.3, color="0.93", zorder=0)
    left.text(plan.depths[0] - 0.2, 2, "learnt from", color="0.4")
    left.set(
        xlabel="depth", ylabel="accuracy, %", ylim=(0, 125), xticks=depths, yticks=range(0, 101, 20)
    )
    ax.set(xlabel="epoch")
    for each in (left, ax):
        each.axhline(100 / MODULUS, color="0.6", linestyle=":", linewidth=1)
        each.grid(alpha=0.3)
        each.legend(frameon=False, fontsize=8, ncol=2, loc="upper left")
    return figure


# %% [markdown]
# *What to notice.* By depth, from 1 to 6, the tree LSTM has 100, 99, 86.7, 69.0, 53.0 and 43.7 %
# right, and the LSTM 100, 61.0, 23.0, 17.7, 15.0 and 11.0 %. The tree LSTM needs to learn what one
# operator does with two digits, 300 facts, and to make of the result a vector like that of a digit.
# The LSTM has to find out by itself which parentheses belong together, and to remember what is
# still open.
#
# But the tree LSTM is not perfect either. What it does at a node is right nearly always, 99 % at
# depth 2, but a deep tree has many nodes, and its vectors are not quite those of digits: what is
# missing adds up. It still gets better in the last epochs.
#
# All that is true of nets that are told every part. In a trial where the tree LSTM was told the
# last digit of whole expressions alone, it memorised 10,000 of them: after 30 epochs the loss
# was 0.054, and of new ones of depth 3 it had 34 % right, hardly more than after four epochs.
#
# ## 4. What the parts are worth
#
# The classifier can be asked at every node. 24_tree.png shows an expression that is deeper than all
# that were learnt from, at each node the symbol and what the net takes the tree below it for; green
# where that is right.


# %%
def draw_tree(
    net: sr.RecursiveNet, tree: Expression, mode: Any
) -> tuple[Any, list[tuple[int, int]]]:
    """A tree with what the net says at each node; and that beside what is right."""
    plan, nodes = schedule([tree]), list(tree.nodes())
    said = net.compile_nodes(mode=mode)(plan.symbols, plan.children)[:, 0].argmax(axis=1).tolist()
    right = values(nodes).tolist()
    pairs = list(zip(said, right, strict=True))
    labels = []
    for node, (a, b) in zip(nodes, pairs, strict=True):
        value = f"{a}" if a == b else f"{a}, not {b}"
        labels.append(node.symbol if node.symbol == value else f"{node.symbol}\n{value}")
    ax = plots.tree(
        labels, plan.children[:, 0], colours=[GREEN if a == b else RED for a, b in pairs]
    )
    ax.set_title(f"{tree}, last digit {right[-1]}", fontsize=10)
    return ax.figure, pairs


# %% [markdown]
# *What to notice.* All 19 are right in this one. A mistake at one node would be seen in all that
# are above it, unless a product with 0 or luck put it right.
#
# ## Try it
#
# - In `train_net`, `TreeCell` in place of `TreeLSTMCell`: what are the gates worth?
# - `--depth 2`, so that only depths 1 and 2 are learnt from: how far does it carry now?
# - Train a net to say the depth of a tree: which of the two finds that easier?
# - What would a bidirectional LSTM do, or one with attention (lesson 17)?


# %%
@pytensor.config.change_flags(floatX="float32")
def main(
    mode: str | None = None,
    seed: int = 1,
    depth: int | None = None,
    epochs: int | None = None,
    figures: str = "figures",
    quick: bool = False,
) -> dict[str, Any]:
    """Run the lesson; return what its parts found."""
    plan = SMALL if quick else DEFAULT
    if epochs is not None:
        _lesson.positive_option("--epochs", epochs)
        plan = plan._replace(epochs=epochs)
    if depth is not None:
        if not 2 <= depth < plan.deepest:
            sizes = " with --quick" if quick else ""
            raise _lesson.OptionError(
                f"--depth is {depth}, but{sizes} must be 2 to {plan.deepest - 1}"
            )
        plan = plan._replace(depths=(1, depth))
    folder = _lesson.figure_folder(figures, quick)

    print("1. A tree as a schedule")
    tree = show_schedule("(2+3)*(4-1)")

    print("\n2. By hand")
    vectors = three_ways(seed)

    print(f"\n3. A tree and a row of characters: {plan.n_train:,} expressions")
    rng = np.random.default_rng(seed)
    tests = {
        d: expressions(min(plan.n_test, 50) if d == 1 else plan.n_test, rng=rng, depths=(d, d))
        for d in range(plan.depths[0], plan.deepest + 1)
    }
    asked = [tree for trees in tests.values() for tree in trees]
    learn = expressions(plan.n_train, rng=rng, depths=plan.depths, without=asked)
    print(f"  {'':<18}{'weights':>9}{'seconds':>9}", *(f"{f'depth {d}':>7}" for d in tests))
    parts = {part for tree in learn for part in tree.nodes()}
    told = {d: np.mean([tree in parts for tree in trees]) for d, trees in tests.items()}
    print(f"  {'told as parts, %':<36}" + "".join(f"{100 * share:8.1f}" for share in told.values()))
    print("  accuracy, %:", flush=True)
    runs = {}
    for name in NETS:
        runs[name] = train_net(name, learn, tests, plan, seed, mode)
        report(name, runs[name])
    _lesson.save_figure(draw_accuracy(runs, plan), folder, "24_accuracy")

    print("\n4. What the parts are worth")
    example = parse("((7-2)*(3+(8*(9-4))))-(6*(5-(1+2)))")
    figure, pairs = draw_tree(runs["tree LSTM"].net, example, mode)
    print(f"  {example}: {sum(a == b for a, b in pairs)} of {len(pairs)} nodes are right")
    _lesson.save_figure(figure, folder, "24_tree")
    _lesson.show_figures()
    return {
        "tree": tree, "vectors": vectors, "learn": learn, "tests": tests, "told": told,
        "runs": runs, "pairs": pairs, "plan": plan,
    }  # fmt: skip


if __name__ == "__main__":
    _lesson.run(
        main,
        help={
            "seed": "of the expressions, the initial weights and the order",
            "depth": f"the largest depth that is learnt from; else {DEFAULT.depths[1]}",
            "epochs": f"epochs on the expressions; else {DEFAULT.epochs}",
            "figures": "folder for the figures",
            "quick": "few expressions, small nets: too little to learn anything",
        },
    )
