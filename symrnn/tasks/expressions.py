"""Arithmetic expressions as trees: data for recursive nets, which follow the tree of their input.

>>> tree = parse("2 + 3 * (4 - 7)")
>>> str(tree), tree.depth, tree.value(), tree.value(modulus=10)
('(2+(3*(4-7)))', 3, -7, 3)
>>> [node.symbol for node in tree.nodes()]
['2', '3', '4', '7', '-', '*', '+']
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple, Union

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from symrnn._validate import check_bounds, check_rng, check_sizes
from symrnn.text.padding import padded

DIGITS, OPERATORS = "0123456789", "+-*"
SYMBOLS = DIGITS + OPERATORS
"""The symbols of nodes; their positions are their ids in a `Schedule`."""
CHARACTERS = SYMBOLS + "()"
"""The characters of an expression's text; their positions are their ids in `text_tokens`."""
BINDS = {"(": 0, "+": 1, "-": 1, "*": 2}
DEEPEST = 100


class Expression(NamedTuple):
    """A tree: a digit, or an operator with a tree on its left and one on its right."""

    symbol: str
    left: Union["Expression", None] = None
    right: Union["Expression", None] = None

    def __str__(self) -> str:
        """Return the text with all parentheses, so that each tree has a text of its own."""
        return self.symbol if self.left is None else f"({self.left}{self.symbol}{self.right})"

    def nodes(self) -> Iterator["Expression"]:
        """Yield all nodes in post-order: those of the left subtree, of the right, and itself."""
        for child in (self.left, self.right):
            if child is not None:
                yield from child.nodes()
        yield self

    @property
    def depth(self) -> int:
        """Number of operators on the longest path from the root: 0 for a digit."""
        if self.left is None or self.right is None:
            return 0
        return 1 + max(self.left.depth, self.right.depth)

    def value(self, modulus: int | None = None) -> int:
        """Return the value; with a modulus the remainder, from 0 to ``modulus - 1``."""
        if self.left is None or self.right is None:
            value = int(self.symbol)
        else:
            a, b = self.left.value(modulus), self.right.value(modulus)
            value = {"+": a + b, "-": a - b, "*": a * b}[self.symbol]
        return value if modulus is None else value % modulus


def parse(text: str) -> Expression:
    """Read an expression of single digits, ``+ - *``, parentheses and spaces.

    Products bind more tightly than sums and differences; operators are left-associative.

    Raises
    ------
    ValueError
        If it is not an expression, or deeper than 100; the message says what is wrong at which
        position, counted from 0.

    Examples
    --------
    >>> str(parse("1-2-3*4"))
    '((1-2)-(3*4))'
    >>> parse("(1+2)*")
    Traceback (most recent call last):
        ...
    ValueError: '(1+2)*' ends at position 6, where a digit or '(' must stand
    """
    trees: list[tuple[Expression, int]] = []  # each with its depth
    waiting: list[tuple[str, int]] = []  # operators and '(', each with its position

    def combine() -> None:
        (operator, position), (right, n), (left, m) = waiting.pop(), trees.pop(), trees.pop()
        if max(m, n) >= DEEPEST:
            raise ValueError(
                f"the operator {operator!r} at position {position} makes a tree deeper than "
                f"{DEEPEST}: take a shorter expression, or other parentheses"
            )
        trees.append((Expression(operator, left, right), 1 + max(m, n)))

    def refuse(found: str, position: int, wanted: str) -> None:
        raise ValueError(f"{text!r} {found} at position {position}, where {wanted} must stand")

    operand_next = True
    for position, character in enumerate(text):
        if character == " ":
            continue
        if character not in CHARACTERS:
            raise ValueError(
                f"{text!r} has {character!r} at position {position}, but expressions are made of "
                "single digits, + - *, parentheses and spaces"
            )
        if operand_next:
            if character in DIGITS:
                trees.append((Expression(character), 0))
                operand_next = False
            elif character == "(":
                waiting.append((character, position))
            else:
                refuse(f"has {character!r}", position, "a digit or '('")
        elif character in OPERATORS:
            while waiting and BINDS[waiting[-1][0]] >= BINDS[character]:
                combine()
            waiting.append((character, position))
            operand_next = True
        elif character == ")":
            while waiting and waiting[-1][0] != "(":
                combine()
            if not waiting:
                raise ValueError(f"{text!r} has ')' at position {position}, but no '(' before it")
            waiting.pop()
        else:  # a digit or "(" right after an operand
            hint = " (numbers have one digit)" if character in DIGITS else ""
            refuse(f"has {character!r}{hint}", position, "an operator or ')'")
    if operand_next:
        refuse("ends", len(text), "a digit or '('")
    while waiting:
        if waiting[-1][0] == "(":
            raise ValueError(f"{text!r} has '(' at position {waiting[-1][1]}, which is not closed")
        combine()
    return trees[0][0]


def expressions(
    n: int,
    *,
    rng: Generator,
    depths: tuple[int, int] = (1, 3),
    without: Collection[Expression] = (),
) -> list[Expression]:
    """Draw different expressions.

    The depth is drawn first, all equally likely; then the operator, and one side of exactly the
    depth required, while the other is at most as deep. There are few shallow ones (10 of depth 0
    and 300 of depth 1): where most of them are used, deeper ones take their place.

    Parameters
    ----------
    n
        Number of expressions.
    rng
        Random generator.
    depths
        The smallest and the largest depth, at least 0 and at most 10.
    without
        Expressions that are not to be drawn, such as those of the training set for a test set.

    Returns
    -------
    list of Expression
        In the order in which they were drawn.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> train = expressions(3, rng=rng)
    >>> [str(tree) for tree in train]
    ['(8+(7+5))', '(8*4)', '(6+4)']
    >>> [str(tree) for tree in expressions(2, rng=rng, depths=(2, 2), without=train)]
    ['((8*0)+(8*3))', '(4+(4+1))']
    """
    check_rng(rng)
    check_sizes(n=n)
    check_bounds("depths", depths, least=0)
    low, high = depths
    if high > 10:
        raise ValueError(f"depths is {depths}, but no expression is drawn that is deeper than 10")
    taken = {tree for tree in without if low <= _checked(tree).depth <= high}
    there_are = _count(high) - _count(low - 1)
    if n > there_are - len(taken):
        raise ValueError(
            f"n is {n}, but of depth {low} to {high} there are only {there_are} expressions"
            + (f", {len(taken)} of which are not wanted" if taken else "")
        )
    found: dict[Expression, None] = {}
    while len(found) < n:
        tree = _draw(rng, int(rng.integers(low, high + 1)))
        if tree not in taken:
            found[tree] = None
    return list(found)


def _checked(tree: Any) -> Expression:
    """Return a tree; it is an error if it has anything but digits and binary operators."""
    if not isinstance(tree, Expression):
        raise TypeError(f"{tree!r} is not an Expression: parse('1+2') makes one of a text")
    for node in tree.nodes():
        sides = [side for side in (node.left, node.right) if side is not None]
        if node.symbol not in [*(OPERATORS if sides else DIGITS)] or len(sides) == 1:
            raise ValueError(
                f"{node.symbol!r} with {len(sides)} sides is not an expression: a digit has none, "
                f"and one of {OPERATORS} has two"
            )
    return tree


def _count(depth: int) -> int:
    """Return the number of trees of at most this depth."""
    if depth < 0:
        return 0
    return len(DIGITS) + len(OPERATORS) * _count(depth - 1) ** 2


def _draw(rng: Generator, depth: int) -> Expression:
    if depth == 0:
        return Expression(DIGITS[rng.integers(len(DIGITS))])
    sides = [_draw(rng, depth - 1), _draw(rng, int(rng.integers(depth)))]
    if rng.integers(2):
        sides.reverse()
    return Expression(OPERATORS[rng.integers(len(OPERATORS))], *sides)


class Schedule(NamedTuple):
    """The order in which the nodes of trees are computed: one step for each, children first.

    Step t writes row t + 1 of a table; row 0 stands for a missing child. All arrays are int64.
    """

    symbols: NDArray[np.int64]
    """The symbol of the node, ``(time, batch)``: its position in `SYMBOLS`."""
    children: NDArray[np.int64]
    """Rows of its left and right child, ``(time, batch, 2)``; 0 and 0 for a digit."""
    roots: NDArray[np.int64]
    """Row of the whole tree, ``(batch,)``: its number of nodes. Zeros follow as padding; they write
    rows that nobody reads."""

    @property
    def mask(self) -> NDArray[np.bool_]:
        """True for nodes, False for padding, ``(time, batch)``."""
        return np.arange(len(self.symbols))[:, None] < self.roots


def schedule(trees: Sequence[Expression]) -> Schedule:
    """Compile trees, at least one, into a post-order schedule, padded to the largest one.

    Examples
    --------
    >>> plan = schedule([parse("1+2*3"), parse("7")])
    >>> [SYMBOLS[k] for k in plan.symbols[:, 0]]
    ['1', '2', '3', '*', '+']
    >>> plan.children[:, 0].tolist()
    [[0, 0], [0, 0], [0, 0], [2, 3], [1, 4]]
    >>> plan.roots.tolist(), plan.mask.sum(axis=0).tolist()
    ([5, 1], [5, 1])
    """
    if isinstance(trees, Expression) or not trees:
        raise ValueError("there must be a list of at least one expression: [parse('1+2')]")
    nodes = [list(_checked(tree).nodes()) for tree in trees]
    time, batch = max(map(len, nodes)), len(trees)
    symbols = np.zeros((time, batch), dtype=np.int64)
    children = np.zeros((time, batch, 2), dtype=np.int64)
    for k, in_order in enumerate(nodes):
        open_rows: list[int] = []  # of trees whose parent is still to come
        for t, node in enumerate(in_order):
            symbols[t, k] = SYMBOLS.index(node.symbol)
            if node.left is not None:
                right, left = open_rows.pop(), open_rows.pop()
                children[t, k] = left, right
            open_rows.append(t + 1)
    return Schedule(symbols, children, np.array([len(n) for n in nodes]))


def node_values(trees: Sequence[Expression], *, modulus: int | None = None) -> NDArray[np.int64]:
    """Return the value of the subtree at each node, to train a net at every node.

    Parameters
    ----------
    trees
        Expressions, at least one.
    modulus
        Return the remainders, from 0 to ``modulus - 1``. Default: the values themselves.

    Returns
    -------
    array of shape (time, batch)
        int64, in the order of `schedule`; 0 in padding.

    Examples
    --------
    >>> node_values([parse("1+2*3"), parse("7")], modulus=5).T.tolist()
    [[1, 2, 3, 1, 2], [2, 0, 0, 0, 0]]
    """
    values = np.zeros(schedule(trees).symbols.shape, dtype=np.int64)
    for k, tree in enumerate(trees):
        of_nodes = [node.value(modulus) for node in tree.nodes()]
        values[: len(of_nodes), k] = of_nodes
    return values


def text_tokens(trees: Sequence[Expression]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Encode the texts of trees for a net that reads them from left to right.

    Returns
    -------
    tokens : array of shape (time, batch)
        Positions in `CHARACTERS`; 0 in padding.
    mask : array of shape (time, batch)
        True for tokens, False for padding.

    Examples
    --------
    >>> tokens, mask = text_tokens([parse("1+2"), parse("7")])
    >>> "".join(CHARACTERS[k] for k in tokens[:, 0]), mask.sum(axis=0).tolist()
    ('(1+2)', [5, 1])
    """
    return padded([[CHARACTERS.index(c) for c in str(tree)] for tree in trees])
