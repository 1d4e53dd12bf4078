"""Lesson 0: symbolic graphs, from one variable to a small network that learns XOR

What you learn
    To write an expression on variables that have no numbers yet and to print it as a graph. To
    compile the graph into a function and call that with arrays. To keep weights in shared
    variables, get their gradient as another graph, and train them. To check a gradient with plain
    NumPy. To recognise the mistakes that everybody makes in the first week: the lesson makes them
    on purpose, prints what happens, and prints the fix.

What you should see
    15 numbered parts. One unit works as AND, OR and NAND, first with weights
    set by hand, then with learnt ones. The same unit fails on XOR: its loss stops at ln 2 = 0.6931.
    A network with one hidden layer learns XOR: 4 of 4 right. Two figures: 00_gates.png and
    00_xor.png.

How long it takes (measured on two cores)
    4 to 9 seconds the first time, 3 to 4 from then on; with --quick 2 to 4. The other modes print
    the same. Their first run is slower: about half a minute with --mode CVM, half a minute to two
    minutes with --mode NUMBA.

What you need to know
    NumPy. Nothing about symbolic graphs.

The file is a script and a notebook: editors that know `# %%` cells open it as one. There, run the
cells from the top and call the function of the cell you are in, for example `a_variable()`, or all
of them with `main()`.
"""

# %% What it needs
# Each step is one function: it prints what it finds and returns it.
from collections.abc import Callable
from pathlib import Path
from textwrap import shorten
from typing import NamedTuple

import _lesson
import matplotlib.pyplot as plt
import numpy as np
import pytensor
import pytensor.tensor as pt
from matplotlib.colors import LinearSegmentedColormap

MODE = "FAST_COMPILE"  # how graphs are compiled: little work before the first call, slower calls
EPOCHS = 1000
LEARNING_RATE = 1.0  # of gradient descent

# The four rows of a truth table (x1, x2), and what each gate answers to them.
X_ROWS = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])  # (4, 2)
TARGETS = {
    "AND": np.array([0.0, 0.0, 0.0, 1.0]),
    "OR": np.array([0.0, 1.0, 1.0, 1.0]),
    "NAND": np.array([1.0, 1.0, 1.0, 0.0]),
    "XOR": np.array([0.0, 1.0, 1.0, 0.0]),
}


# %% 1. A variable has a type and no numbers
# `np.zeros(3)` is three numbers. `pt.vector("x")` is a name for an array that comes later. Known
# now: how many axes it has and the type of its numbers. Not known: the numbers, and how many.
def a_variable() -> dict[str, int]:
    """Print what is known of a scalar, a vector and a matrix; return the number of axes of each."""
    s = pt.scalar("s")
    x = pt.vector("x")
    X = pt.matrix("X")
    for variable in (s, x, X):
        print(f"{variable.name}  axes: {variable.ndim}  type: {variable.type}")
    print("A '?' is a length that only the array will tell.")
    return {variable.name: variable.ndim for variable in (s, x, X)}


# %% 2. An expression is a graph
# Equation: a = w·x + b. The Python line looks like NumPy, yet it multiplies nothing. It builds
# nodes: a product of w and x, a sum of that, an addition of b. `dprint` prints the graph from its
# result down to its inputs, one line a node.
def an_expression() -> tuple[str, str, str]:
    """Print the graph of ``sum(w * x) + b``; return its top node and what goes into that."""
    x, w, b = pt.vector("x"), pt.vector("w"), pt.scalar("b")
    a = pt.sum(w * x) + b
    pytensor.dprint(a)
    print(f"print(a) gives {a}: output number 0 of a node that adds.")
    left, right = a.owner.inputs  # the graph can be walked: `owner` is the node that makes a
    print(f"a = {a.owner.op}({left}, {right})")
    return str(a.owner.op), str(left), str(right)


# %% 3. `pytensor.function` makes the graph callable
# The list gives the order of the arguments. The function takes arrays and returns arrays. The
# lengths are free, as the type said, so one compiled function serves them all.
def a_function(mode: str = MODE) -> tuple[float, float]:
    """Compile the expression, call it for two lengths; return both results."""
    x, w, b = pt.vector("x"), pt.vector("w"), pt.scalar("b")
    f = pytensor.function([x, w, b], pt.sum(w * x) + b, mode=mode)
    three = f([1.0, 2.0, 3.0], [0.5, 0.5, 0.5], 1.0)
    one = f(np.array([4.0]), np.array([2.0]), -1.0)
    print(f"f([1, 2, 3], [.5, .5, .5], 1) = {three}   NumPy: {np.dot([1, 2, 3], [0.5] * 3) + 1}")
    print(f"f([4], [2], -1)               = {one}   NumPy: {np.dot([4], [2]) - 1.0}")
    print(f"What comes back is a {type(three).__name__} with {three.ndim} axes.")
    return float(three), float(one)


# %% 4. A shared variable keeps its numbers between calls
# A function that only maps arguments to results cannot learn: nothing is left of a call. Weights
# need a place that lasts. `pytensor.shared(array)` is a variable of the graph that owns an array.
# It is no argument. `get_value` returns a copy of the array, `set_value` replaces it.
def a_shared_variable(mode: str = MODE) -> tuple[float, float]:
    """Call one compiled function before and after `set_value`; return both results."""
    x = pt.vector("x")
    W = pytensor.shared(np.array([1.0, 1.0]), name="W")
    f = pytensor.function([x], pt.sum(W * x), mode=mode)
    before = f([2.0, 3.0])
    print(f"W = {W.get_value()}: f([2, 3]) = {before}")

    copy = W.get_value()
    copy[:] = 100.0  # changes the copy alone
    print(f"after writing into the copy: f([2, 3]) = {f([2.0, 3.0])}")

    W.set_value(np.array([10.0, 0.0]))
    after = f([2.0, 3.0])
    print(f"after W.set_value([10, 0]):  f([2, 3]) = {after}, and nothing was compiled again")
    return float(before), float(after)


# %% 5. The gradient is one more graph
# Equation: loss = (w·x − t)². By hand: d loss / d w = 2 (w·x − t) x.
# `pytensor.grad(loss, w)` walks the graph of the loss from its result to w and writes down the
# chain rule as new nodes. No number is involved. `Second(a, 1.0)` is "1.0 in the shape of a": the
# chain rule starts with d loss / d loss = 1. `···` stands for a part that was printed above.
# `pytensor.function` tidies up what it is given. What is left of this gradient is the hand's line.
def a_gradient(mode: str = MODE) -> tuple[float, float]:
    """Print the gradient of a square as built and as compiled; return it and the second one."""
    x, t = pt.scalar("x"), pt.scalar("t")
    w = pytensor.shared(1.0, name="w")
    loss = pt.sqr(w * x - t)
    gradient = pytensor.grad(loss, w)
    print("as built:")
    pytensor.dprint(gradient)
    f = pytensor.function([x, t], [gradient, pytensor.grad(gradient, w)], mode=mode)
    print("as compiled:")
    pytensor.dprint(pytensor.function([x, t], gradient, mode="FAST_COMPILE"))
    first, second = f(3.0, 1.0)
    print(f"w = 1, x = 3, t = 1: gradient {first}, by hand 2 (1·3 - 1) 3 = {2 * (1 * 3 - 1) * 3}")
    print(f"A graph has a gradient again: second one {second}, by hand 2 x² = {2 * 3**2}")
    return float(first), float(second)


# %% 6. `updates`: what one call of a training function does
# Equation: w ← w − learning_rate · d loss / d w. `updates={w: ...}` asks the function to store that
# value in w. Order in one call: (1) the results and all new values are computed from the OLD
# values, (2) then all new values are stored. So the loss that a call returns belongs to the weights
# before the step. Two variables that take each other's place show the same order.
def an_update(mode: str = MODE) -> tuple[list[float], list[float], tuple[float, float]]:
    """Take three steps of gradient descent, then swap two shared variables in one call.

    Returns the losses, the values of w (its start first), and the swapped pair.
    """
    learning_rate = 0.05
    x, t = pt.scalar("x"), pt.scalar("t")
    w = pytensor.shared(1.0, name="w")
    loss = pt.sqr(w * x - t)
    updates = {w: w - learning_rate * pytensor.grad(loss, w)}
    step = pytensor.function([x, t], loss, updates=updates, mode=mode)
    losses, values = [], [float(w.get_value())]
    print("call   w before   loss returned   w after   w - learning_rate * gradient by hand")
    for call in range(1, 4):
        old = values[-1]
        losses.append(float(step(3.0, 1.0)))
        values.append(float(w.get_value()))
        by_hand = old - learning_rate * 2 * (old * 3.0 - 1.0) * 3.0
        print(f"{call:4}   {old:8.4f}   {losses[-1]:13.4f}   {values[-1]:7.4f}   {by_hand:.4f}")

    p, q = pytensor.shared(1.0, name="p"), pytensor.shared(2.0, name="q")
    swap = pytensor.function([], [p, q], updates={p: q, q: p}, mode=mode)
    returned = [float(value) for value in swap()]
    swapped = float(p.get_value()), float(q.get_value())
    print(f"updates={{p: q, q: p}}: the call returned {returned}, now p, q = {list(swapped)}")
    return losses, values, swapped


# %% 7. Gates by hand: the perceptron
# Equation: y = 1 if X·W + b > 0 else 0. Two inputs, two weights, one bias. A Python function that
# takes variables and returns a graph is a building block: `threshold_unit` is used again below.
# All four rows go through at once: X is (4, 2), W is (2,), y is (4,).
def threshold_unit(X, W, b):
    """Return the graph of a perceptron: X (N, 2), W (2,), b () -> y (N,) of zeros and ones."""
    return (X @ W + b > 0).astype("int64")


HAND_WEIGHTS = {
    "AND": (np.array([1.0, 1.0]), -1.5),  # both are needed to get over 1.5
    "OR": (np.array([1.0, 1.0]), -0.5),  # one is enough to get over 0.5
    "NAND": (np.array([-1.0, -1.0]), 1.5),  # AND with every sign turned round
}


def gates_by_hand(mode: str = MODE) -> dict[str, np.ndarray]:
    """Print the truth tables of AND, OR and NAND; return each as an array (4,)."""
    X = pt.matrix("X")
    W = pytensor.shared(np.zeros(2), name="W")
    b = pytensor.shared(0.0, name="b")
    gate = pytensor.function([X], threshold_unit(X, W, b), mode=mode)  # compiled once, for all
    tables = {}
    for name, (weights, bias) in HAND_WEIGHTS.items():
        W.set_value(weights)
        b.set_value(bias)
        tables[name] = gate(X_ROWS)
    print_truth_table(tables)
    return tables


def print_truth_table(columns: dict[str, np.ndarray]) -> None:
    """Print one line for each row of `X_ROWS` and one column for each array (4,)."""
    widths = {name: max(len(name), 5) for name in columns}
    print("x1 x2   " + "   ".join(f"{name:>{widths[name]}}" for name in columns))
    for row, (x1, x2) in enumerate(X_ROWS):
        values = [(values[row], widths[name]) for name, values in columns.items()]
        cells = [f"{v:{n}d}" if isinstance(v, np.integer) else f"{v:{n}.2f}" for v, n in values]
        print(f"{x1:2.0f} {x2:2.0f}   " + "   ".join(cells))


# %% 8. Gates learnt: the sigmoid unit
# The step of the perceptron is flat: its gradient says nothing. The sigmoid is a smooth step:
#     y = sigmoid(X·W + b),  between 0 and 1,
#     loss = −mean(t log y + (1 − t) log(1 − y)),  the cross-entropy.
# The loss is 0 when every y equals its target, and ln 2 when every y is 1/2. Gradient descent is
# the one line with `updates` in `compile_learner`: each weight, minus the learning rate times its
# gradient.
def sigmoid_unit(X, W, b):
    """Return the graph of one sigmoid unit: X (N, 2), W (2,), b () -> y (N,)."""
    return pt.sigmoid(X @ W + b)


def cross_entropy(y, t):
    """Return the graph of the mean cross-entropy of y (N,) against the targets t (N,)."""
    return -pt.mean(t * pt.log(y) + (1 - t) * pt.log(1 - y))


class Learner(NamedTuple):
    """Shared weights and the compiled functions that use them."""

    weights: list  # the shared variables
    predict: Callable  # X -> y
    train: Callable  # X, t -> loss and y before the step; changes the weights
    gradients: Callable  # X, t -> loss and the gradient for each of the weights; changes nothing


def compile_learner(model: Callable, weights: list, mode: str) -> Learner:
    """Compile what is needed to use, train and check ``y = model(X, *weights)``."""
    X, t = pt.matrix("X"), pt.vector("t")
    y = model(X, *weights)
    loss = cross_entropy(y, t)
    grads = pytensor.grad(loss, weights)  # one gradient for each of the weights
    updates = {w: w - LEARNING_RATE * grad for w, grad in zip(weights, grads, strict=True)}
    return Learner(
        weights,
        predict=pytensor.function([X], y, mode=mode),
        train=pytensor.function([X, t], [loss, y], updates=updates, mode=mode),
        gradients=pytensor.function([X, t], [loss, *grads], mode=mode),
    )


def compile_unit(mode: str = MODE) -> Learner:
    """Compile one sigmoid unit with two weights and a bias."""
    W = pytensor.shared(np.zeros(2), name="W")
    b = pytensor.shared(0.0, name="b")
    return compile_learner(sigmoid_unit, [W, b], mode)


class Result(NamedTuple):
    """What learning left behind."""

    weights: list[np.ndarray]
    losses: np.ndarray  # (epochs,), each one before its step
    right: np.ndarray  # (epochs,), how many of the four rows were on the right side of 1/2
    y: np.ndarray  # (4,), the answers at the end


def learn(learner: Learner, start: list, t: np.ndarray, epochs: int) -> Result:
    """Set the weights to `start`, take `epochs` steps on the four rows with the targets `t`."""
    set_weights(learner, start)
    losses, right = np.zeros(epochs), np.zeros(epochs, dtype=int)
    for epoch in range(epochs):
        losses[epoch], y = learner.train(X_ROWS, t)
        right[epoch] = count_right(y, t)
    weights = [w.get_value() for w in learner.weights]
    return Result(weights, losses, right, learner.predict(X_ROWS))


def set_weights(learner: Learner, values: list) -> None:
    """Put new values into the shared weights; nothing is compiled again."""
    for w, value in zip(learner.weights, values, strict=True):
        w.set_value(value)


def count_right(y: np.ndarray, t: np.ndarray) -> int:
    """Count the answers y (4,) on the same side of 1/2 as their targets t (4,)."""
    return int(np.sum((y > 0.5) == (t > 0.5)))


def gates_learnt(learner: Learner, epochs: int = EPOCHS, seed: int = 1) -> dict[str, Result]:
    """Train one unit for AND, then for OR, then for NAND; print and return what they learnt."""
    rng = np.random.default_rng(seed)
    start = [rng.normal(size=2), np.array(0.0)]
    learnt = {}
    for name in HAND_WEIGHTS:
        learnt[name] = learn(learner, start, TARGETS[name], epochs)
        W, b = learnt[name].weights
        print(
            f"{name:4}  loss {learnt[name].losses[0]:.3f} -> {learnt[name].losses[-1]:.3f}"
            f"   right: {count_right(learnt[name].y, TARGETS[name])} of 4"
            f"   W = [{W[0]:6.2f} {W[1]:6.2f}], b = {b:6.2f}"
        )
    print_truth_table({name: result.y for name, result in learnt.items()})
    print("In time the signs become those of the weights by hand, and the sizes keep growing.")
    return learnt


# %% 9. One unit cannot do XOR
# The unit answers 1 on one side of the line x·W + b = 0 and 0 on the other. XOR asks for
#     b ≤ 0            row 0 0           W1 + b > 0     row 1 0
#     W1 + W2 + b ≤ 0  row 1 1           W2 + b > 0     row 0 1
# Add the two on the left: W1 + W2 + 2b ≤ 0. Add the two on the right: W1 + W2 + 2b > 0. Both
# cannot hold: no such line exists. With the loss it is the same: it is convex, and its gradient is
# zero at W = 0, b = 0, where every answer is 1/2. So ln 2 is the best that one unit can reach.
def xor_with_one_unit(
    learner: Learner, epochs: int = EPOCHS, seed: int = 1
) -> tuple[Result, list[np.ndarray], int]:
    """Train one unit on XOR, and try a grid of lines.

    Returns the result, the gradients for W and b at zero, and how many rows the best line got.
    """
    t = TARGETS["XOR"]
    rng = np.random.default_rng(seed)
    result = learn(learner, [rng.normal(size=2), np.array(0.0)], t, epochs)
    print_progress(result.losses)
    print(f"ln 2 = {np.log(2):.6f}, answers: {np.array2string(result.y, precision=3)}")
    print(f"On the way never more than {result.right.max()} of 4 right.")

    set_weights(learner, [np.zeros(2), np.array(0.0)])
    _, *gradients = learner.gradients(X_ROWS, t)
    print(f"Gradient at W = 0, b = 0: {gradients[0]} and {gradients[1]}")

    ticks = np.linspace(-2.0, 2.0, 17)
    W1, W2, b = (axis.ravel() for axis in np.meshgrid(ticks, ticks, ticks))
    answers = X_ROWS @ np.stack([W1, W2]) + b > 0  # (4, 4913)
    best = int((answers == (t > 0.5)[:, None]).sum(axis=0).max())
    print(f"The best of {b.size} lines on a grid: {best} of 4 right.")
    return result, gradients, best


def print_progress(losses: np.ndarray) -> None:
    """Print the loss at about five epochs."""
    epochs = np.unique(np.linspace(0, len(losses) - 1, 5).astype(int))
    print("   ".join(f"epoch {epoch + 1}: {losses[epoch]:.6f}" for epoch in epochs))


# %% 10. XOR by hand: gates of gates
# Equation: XOR(x) = AND(NAND(x), OR(x)). The building block is used three times and the result is
# one graph. NAND and OR are a hidden layer: they move the two middle rows to one and the same
# point (1, 1), and then a line is enough.
def xor_by_hand(mode: str = MODE) -> dict[str, np.ndarray]:
    """Compose XOR from three perceptrons; print and return the columns of the table."""
    X = pt.matrix("X")
    nand = threshold_unit(X, *HAND_WEIGHTS["NAND"])  # (N,)
    either = threshold_unit(X, *HAND_WEIGHTS["OR"])  # (N,)
    hidden = pt.stack([nand, either], axis=1)  # (N, 2)
    both = threshold_unit(hidden, *HAND_WEIGHTS["AND"])  # (N,)
    f = pytensor.function([X], [nand, either, both], mode=mode)
    table = dict(zip(("NAND", "OR", "XOR"), f(X_ROWS), strict=True))
    print_truth_table(table)
    return table


# %% 11. XOR learnt: one hidden layer
# Equations: h = tanh(X·W + b), y = sigmoid(h·V + c). X is (N, 2), W (2, 4), b (4,), h (N, 4),
# V (4,), c a scalar. If W and V start at zero, every gradient is zero and nothing ever moves. If
# the four hidden units start equal, they stay equal. So W and V start at small random numbers. Loss
# and gradient descent are the same lines as before.
def hidden_net(X, W, b, V, c):
    """Return the graph of a network with one hidden layer: X (N, 2) -> y (N,)."""
    h = pt.tanh(X @ W + b)
    return pt.sigmoid(h @ V + c)


def compile_net(mode: str = MODE, units: int = 4) -> Learner:
    """Compile a network with one hidden layer of `units` tanh units."""
    W = pytensor.shared(np.zeros((2, units)), name="W")
    b = pytensor.shared(np.zeros(units), name="b")
    V = pytensor.shared(np.zeros(units), name="V")
    c = pytensor.shared(0.0, name="c")
    return compile_learner(hidden_net, [W, b, V, c], mode)


def net_start(seed: int, units: int = 4) -> list[np.ndarray]:
    """Draw the weights that a network starts from."""
    rng = np.random.default_rng(seed)
    W, V = 0.5 * rng.normal(size=(2, units)), 0.5 * rng.normal(size=units)
    return [W, np.zeros(units), V, np.array(0.0)]


def xor_learnt(learner: Learner, epochs: int = EPOCHS, seed: int = 1) -> Result:
    """Train the network on XOR; print and return what it learnt."""
    t = TARGETS["XOR"]
    result = learn(learner, net_start(seed), t, epochs)
    print_progress(result.losses)
    print_truth_table({"target": t.astype(int), "y": result.y})
    print(f"right: {count_right(result.y, t)} of 4")
    return result


# %% 12. Is the gradient right? Check it with numbers
# Equation: d loss / d w ≈ (loss(w + ε) − loss(w − ε)) / 2ε, one weight at a time. This needs no
# gradient, only the loss, and here the loss is written in NumPy: nothing of PyTensor is in it.
# For one unit there is also a formula: the gradient is Xᵀ(y − t) / N for W and mean(y − t) for b.
def numpy_loss(W: np.ndarray, b: float, t: np.ndarray) -> float:
    """Return the cross-entropy of one unit on the four rows, in plain NumPy."""
    y = 1 / (1 + np.exp(-(X_ROWS @ W + b)))
    return float(-np.mean(t * np.log(y) + (1 - t) * np.log(1 - y)))


def central_differences(loss: Callable, at: np.ndarray, eps: float = 1e-5) -> np.ndarray:
    """Return the gradient of ``loss(array) -> float`` at the array `at`, one number at a time."""
    gradient = np.zeros_like(at)
    for index in np.ndindex(at.shape):
        up, down = at.copy(), at.copy()
        up[index] += eps
        down[index] -= eps
        gradient[index] = (loss(up) - loss(down)) / (2 * eps)
    return gradient


def gradient_of_unit(unit: Learner, seed: int = 1) -> np.ndarray:
    """Print and return the gradient of one unit, found in three ways.

    The table is (3, 3): a row for W1, W2 and b; the columns are `pytensor.grad`, central
    differences and the formula.
    """
    rng = np.random.default_rng(seed)
    W, b, t = rng.normal(size=2), np.array(rng.normal()), TARGETS["OR"]
    set_weights(unit, [W, b])
    _, *exact = unit.gradients(X_ROWS, t)
    numeric = central_differences(lambda p: numpy_loss(p[:2], p[2], t), np.array([*W, b]))
    error = unit.predict(X_ROWS) - t
    formula = np.append(X_ROWS.T @ error / 4, error.mean())
    table = np.stack([np.append(*exact), numeric, formula], axis=1)
    print("      pytensor.grad   central diff.         formula   grad - central")
    for name, (g, c, f) in zip(("W1", "W2", "b"), table, strict=True):
        print(f"{name:3} {g:15.10f} {c:15.10f} {f:15.10f}   {g - c:14.0e}")
    return table


# The network has 17 weights and no formula that you would like to write down. Its compiled loss is
# called with one weight moved at a time.
def gradient_of_net(net: Learner, seed: int = 1) -> float:
    """Return the largest difference of `pytensor.grad` and central differences over all weights."""
    start, t = net_start(seed), TARGETS["XOR"]
    set_weights(net, start)
    _, *exact = net.gradients(X_ROWS, t)
    largest = 0.0
    for w, value, gradient in zip(net.weights, start, exact, strict=True):

        def loss(moved, w=w):
            w.set_value(moved)
            return float(net.gradients(X_ROWS, t)[0])

        largest = max(largest, float(np.abs(gradient - central_differences(loss, value)).max()))
        w.set_value(value)
    size = sum(value.size for value in start)
    print(f"network, {size} weights: every difference below 1e-8: {largest < 1e-8}")
    return largest


# PyTensor brings a check of its own: `verify_grad` compares the two for the numbers it is given and
# raises an error if they disagree. (With no_debug_ref=True, its default, it compiles the loss in
# another mode than FAST_COMPILE, and takes seconds.)
def gradient_verified(mode: str = MODE, seed: int = 1) -> None:
    """Let PyTensor check the gradient of one unit in one line."""
    rng = np.random.default_rng(seed)
    W, b, t = rng.normal(size=2), np.array(rng.normal()), TARGETS["OR"]

    def loss(W, b):
        return cross_entropy(sigmoid_unit(X_ROWS, W, b), t)

    pytensor.gradient.verify_grad(loss, [W, b], rng=rng, mode=mode, no_debug_ref=False)
    print("pytensor.gradient.verify_grad: no error")


# %% 13. The mistakes people make
# Each of these is made here on purpose. First those that PyTensor notices: its error, cut to one
# line, and what to do.
def caught(what: str, fix: str, action: Callable) -> str:
    """Run `action`, which must fail; print what it did, the error and the fix; return the error."""
    try:
        action()
    except Exception as error:
        # The full text goes on about where the variable was made; the beginning is the point.
        text = shorten(str(error).split("Backtrace")[0], 90, placeholder=" ...")
        line = f"{type(error).__name__}: {text or '(says only where the variable was made)'}"
    else:
        raise AssertionError(f"{what}: no error")
    print(f"- {what}\n    {line}\n    Fix: {fix}")
    return line


def errors_shown(mode: str = MODE) -> list[str]:
    """Make the mistakes that raise an error; print each with its fix; return the errors."""
    X, t = pt.matrix("X"), pt.vector("t")
    W = pytensor.shared(np.zeros(2), name="W")
    b = pytensor.shared(0.0, name="b")
    y = sigmoid_unit(X, W, b)
    loss = cross_entropy(y, t)
    f = pytensor.function([X, t], loss, mode=mode)
    k = pt.lvector("k")  # a vector of whole numbers (int64)
    count = pytensor.function([k], k.sum(), mode=mode)
    X32 = pt.matrix("X", dtype="float32")
    W32 = pytensor.shared(np.zeros(2, dtype="float32"), name="W")
    total = pytensor.function([X32], X32.sum(), mode=mode)
    gradient32 = pytensor.grad((X32 @ W32).mean(), W32)
    learning_rate = np.float64(0.1)
    other = pytensor.shared(1.0, name="other")
    return [
        caught(
            "a call without one of its inputs: f(X)",
            "give every input, in the order of the list.",
            lambda: f(X_ROWS),
        ),
        caught(
            "an input that is not in the list: function([X], loss), and the loss needs t",
            "put every input that the result needs into the list. Shared variables stay out.",
            lambda: pytensor.function([X], loss, mode=mode),
        ),
        caught(
            "an integer matrix for a float32 one",
            "X.astype('float32'). (A float64 variable takes whole numbers without a word.)",
            lambda: total(np.array([[1, 0], [0, 1]])),
        ),
        caught(
            "floats for a vector of whole numbers",
            "declare pt.vector; pt.lvector is for indices.",
            lambda: count(np.array([0.5, 1.5])),
        ),
        caught(
            "a learning rate of type np.float64 in a float32 graph: the update becomes float64",
            "np.float32(learning_rate). A Python 0.1 is float64 too while floatX is 'float64'.",
            lambda: pytensor.function(
                [X32], updates={W32: W32 - learning_rate * gradient32}, mode=mode
            ),
        ),
        caught(
            "a loss that is not a scalar: one number for each row",
            "take its mean: pytensor.grad(pt.mean(...), W).",
            lambda: pytensor.grad(pt.sqr(y - t), W),
        ),
        caught(
            "the gradient for a variable that the loss does not depend on",
            "look for it in dprint(loss). Often W.get_value() or another W got into the graph.",
            lambda: pytensor.grad(loss, other),
        ),
    ]


# %% 14. The mistakes that nothing tells you
# The program is a valid one, so PyTensor has nothing to say. Only the numbers are not those that
# you wanted.
def silence_shown(mode: str = MODE) -> dict[str, float]:
    """Make the mistakes that raise nothing; print what happens and return the numbers."""
    X, t = pt.matrix("X"), pt.vector("t")
    W = pytensor.shared(np.zeros(2), name="W")
    b = pytensor.shared(0.0, name="b")
    loss = cross_entropy(sigmoid_unit(X, W, b), t)
    target = TARGETS["OR"]

    new_W = W - LEARNING_RATE * pytensor.grad(loss, W)
    forgetful = pytensor.function([X, t], [loss, new_W], mode=mode)  # no updates
    losses = [float(forgetful(X_ROWS, target)[0]) for _ in range(100)]
    print("- updates forgotten: the new weights are computed, returned, and stored nowhere")
    print(f"    loss at call 1: {losses[0]:.4f}, at call 100: {losses[-1]:.4f}")
    print("    Fix: updates={W: new_W}.")

    step = pytensor.function([X, t], loss, updates={W: new_W}, mode=mode)
    current = pytensor.function([X, t], loss, mode=mode)
    old_W = W.get_value()
    returned = float(step(X_ROWS, target))
    after = float(current(X_ROWS, target))
    print("- an old value taken for the new one")
    print(f"    W.get_value() from before the step: {old_W}, now: {W.get_value()}")
    print(f"    loss that the step returned: {returned:.4f}, of the new weights: {after:.4f}")
    print("    Fix: get_value() again after the step; a loss belongs to the weights before it.")

    frozen = pytensor.function([X], X @ W.get_value(), mode=mode)  # a constant, not W
    before = float(frozen(X_ROWS)[3])
    W.set_value(np.array([7.0, 7.0]))
    kept = float(frozen(X_ROWS)[3])
    print("- W.get_value() inside an expression: the numbers of today, for ever")
    print(f"    X @ W.get_value() before W.set_value: {before:.3f}, after: {kept:.3f}")
    print("    Fix: X @ W.")

    a = pt.vector("a")
    y = pt.sigmoid(a)
    by_log = pytensor.function([a, t], cross_entropy(y, t), mode="FAST_COMPILE")
    safe = pytensor.function([a, t], pt.mean(pt.softplus(a) - t * a), mode="FAST_COMPILE")
    far = np.array([800.0]), np.array([1.0])  # a right answer, and a very sure one
    near = np.array([0.3]), np.array([1.0])
    print("- the log of zero: sigmoid(800) is exactly 1, and then 0 * log(0) is NaN")
    print(f"    log form at a = 0.3: {by_log(*near):.6f}, at a = 800: {by_log(*far):.1f}")
    print(f"    softplus(a) - t a:   {safe(*near):.6f}, at a = 800: {safe(*far):.1f}")
    print("    Fix: softplus(a) - t a. It is the same loss and takes no log of zero. (Other modes")
    print("    rewrite the log form while they compile; FAST_COMPILE does what you wrote.)")
    return {
        "forgetful_first": losses[0],
        "forgetful_last": losses[-1],
        "returned": returned,
        "after": after,
        "frozen_before": before,
        "frozen_after": kept,
        "log_far": float(by_log(*far)),
        "safe_far": float(safe(*far)),
        "log_near": float(by_log(*near)),
        "safe_near": float(safe(*near)),
    }


# %% 15. Pictures
# The colour is the answer y of the learnt unit at every point of the square, from 0 (blue) to 1
# (orange). The black line is y = 1/2. The digit on each of the four points is its target.
BLUE, ORANGE = "#2b6cb0", "#c2570c"


def draw_region(axis, learner: Learner, weights: list[np.ndarray], t: np.ndarray):
    """Colour the square by the answers of `learner` with these weights, and draw the four rows."""
    ticks = np.linspace(-0.5, 1.5, 81)
    x1, x2 = np.meshgrid(ticks, ticks)
    set_weights(learner, weights)
    y = learner.predict(np.stack([x1.ravel(), x2.ravel()], axis=1)).reshape(x1.shape)
    shades = LinearSegmentedColormap.from_list("answers", ["#8fbbe3", "white", "#f5b27a"])
    square = (-0.5, 1.5, -0.5, 1.5)
    image = axis.imshow(
        y, shades, vmin=0, vmax=1, extent=square, origin="lower", interpolation="bilinear"
    )
    if np.abs(y - 0.5).max() < 0.01:
        axis.text(0.5, -0.38, "answer 1/2 everywhere", fontsize=9, ha="center")
    elif y.min() < 0.5 < y.max():
        axis.contour(x1, x2, y, levels=[0.5], colors="black", linewidths=1.6)
    for (row_x1, row_x2), target in zip(X_ROWS, t, strict=True):
        colour = ORANGE if target else BLUE
        axis.scatter(row_x1, row_x2, s=190, color=colour, edgecolor="black", zorder=3)
        axis.text(row_x1, row_x2, f"{target:.0f}", color="white", ha="center", va="center_baseline")
    axis.set(xticks=[0, 1], yticks=[0, 1], xlabel="x1")
    return image


def draw_gates(folder: Path, unit: Learner, learnt: dict[str, Result]) -> Path:
    """Draw what one unit learnt of each gate; return the path of the figure."""
    figure, axes = plt.subplots(1, 4, figsize=(8.6, 3.1), sharey=True, layout="constrained")
    for axis, (name, result) in zip(axes, learnt.items(), strict=True):
        image = draw_region(axis, unit, result.weights, TARGETS[name])
        right = f"{count_right(result.y, TARGETS[name])} of 4 right"
        verdict = "one unit fails" if name == "XOR" else right
        axis.set_title(f"{name}: {verdict}\nloss {result.losses[-1]:.3f}", fontsize=11)
    axes[0].set_ylabel("x2")
    # Both 1s of XOR on one side of a line: then so is the middle between them. The same holds for
    # the 0s, and it is the same middle.
    for rows, style in ((X_ROWS[[0, 3]], ":"), (X_ROWS[[1, 2]], "--")):
        axes[3].plot(*rows.T, style, color="black", linewidth=1.4)
    figure.colorbar(image, ax=axes, label="answer y", ticks=[0, 0.5, 1], fraction=0.05, aspect=14)
    figure.supxlabel(
        "XOR: a side with both 1s holds the middle between them, a side with both 0s does too,\n"
        "and it is the same point. So no line has the 1s on one side and the 0s on the other.",
        fontsize=10,
    )
    return _lesson.save_figure(figure, folder, "00_gates")


def draw_xor(folder: Path, net: Learner, one_unit: Result, result: Result) -> Path:
    """Draw the losses of one unit and of the network, and what the network learnt."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 3.8), layout="constrained")
    epochs = 1 + np.arange(len(result.losses))
    left.plot(epochs, one_unit.losses, color="#718096", linewidth=2, label="one unit")
    left.plot(epochs, result.losses, color="#2f855a", linewidth=2, label="hidden layer of 4")
    left.axhline(np.log(2), color="black", linestyle="--", linewidth=1, label="ln 2: always 1/2")
    left.set(
        xscale="log", xlabel="epoch", ylabel="cross-entropy", title="XOR: loss", ylim=(0, None)
    )
    left.legend(frameon=False, loc="lower left")
    left.spines[["top", "right"]].set_visible(False)
    image = draw_region(right, net, result.weights, TARGETS["XOR"])
    right.set(ylabel="x2", title=f"learnt: {count_right(result.y, TARGETS['XOR'])} of 4 right")
    figure.colorbar(image, ax=right, label="answer y", ticks=[0, 0.5, 1])
    return _lesson.save_figure(figure, folder, "00_xor")


# %% 16. All of it
def main(
    mode: str = MODE,
    epochs: int = EPOCHS,
    seed: int = 1,
    figures: str = "figures",
    quick: bool = False,
) -> None:
    """Run every step in order."""
    _lesson.positive_option("--epochs", epochs)
    if quick:
        epochs = min(epochs, 200)
    folder = _lesson.figure_folder(figures, quick)
    # The gradients are checked to ten digits, so this lesson works in float64 whatever the
    # settings say. They are as before when it ends.
    with pytensor.config.change_flags(floatX="float64"):
        heading("1. A variable has a type and no numbers")
        a_variable()
        heading("2. An expression is a graph: a = w·x + b")
        an_expression()
        heading("3. pytensor.function makes the graph callable")
        a_function(mode)
        heading("4. A shared variable keeps its numbers between calls")
        a_shared_variable(mode)
        heading("5. The gradient is one more graph: loss = (w·x - t)²")
        a_gradient(mode)
        heading("6. What one call with updates does")
        an_update(mode)
        heading("7. Gates by hand: y = 1 if X·W + b > 0")
        gates_by_hand(mode)
        heading(f"8. Gates learnt: y = sigmoid(X·W + b), {epochs} epochs")
        unit = compile_unit(mode)
        learnt = gates_learnt(unit, epochs, seed)
        heading("9. One unit cannot do XOR")
        one_unit, _, _ = xor_with_one_unit(unit, epochs, seed)
        heading("10. XOR by hand: AND(NAND(x), OR(x))")
        xor_by_hand(mode)
        heading("11. XOR learnt: one hidden layer of 4 tanh units")
        net = compile_net(mode)
        result = xor_learnt(net, epochs, seed)
        heading("12. Is the gradient right? Check it with numbers")
        gradient_of_unit(unit, seed)
        gradient_of_net(net, seed)
        gradient_verified(mode, seed)
        heading("13. The mistakes people make")
        errors_shown(mode)
        heading("14. The mistakes that nothing tells you")
        silence_shown(mode)
        heading("15. Pictures")
        draw_gates(folder, unit, {**learnt, "XOR": one_unit})
        draw_xor(folder, net, one_unit, result)
    _lesson.show_figures()


def heading(text: str) -> None:
    """Print a heading."""
    print(f"\n=== {text}")


if __name__ == "__main__":
    _lesson.run(
        main,
        help={
            "mode": "how PyTensor compiles",
            "epochs": "steps of gradient descent for each thing that is learnt",
            "seed": "seed of the weights that learning starts from",
            "figures": "folder for the two figures",
            "quick": "at most 200 epochs",
        },
    )
