import numpy as np
import pytest

from symrnn.tasks.expressions import (
    CHARACTERS,
    SYMBOLS,
    Expression,
    expressions,
    parse,
    schedule,
    text_tokens,
)


@pytest.mark.parametrize(
    ("text", "tree", "value"),
    [
        ("7", "7", 7),
        (" ( 7 ) ", "7", 7),
        ("1+2*3", "(1+(2*3))", 7),
        ("1*2+3", "((1*2)+3)", 5),
        ("(1+2)*3", "((1+2)*3)", 9),
        ("9-4-3", "((9-4)-3)", 2),
        ("9-(4-3)", "(9-(4-3))", 8),
        ("2*3-4*5+6", "(((2*3)-(4*5))+6)", -8),
    ],
)
def test_expressions_are_read_as_python_reads_them(text, tree, value):
    assert str(parse(text)) == tree
    assert parse(text).value() == value == eval(text.strip())


def test_random_expressions_have_pythons_values_and_are_read_back():
    for tree in expressions(200, rng=np.random.default_rng(1), depths=(0, 5)):
        text = str(tree)
        assert parse(text) == tree
        assert tree.value() == eval(text)
        assert tree.value(10) == eval(text) % 10


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' ends at position 0, where a digit or '[(]' must stand"),
        ("3 + )", "has '[)]' at position 4, where a digit or '[(]' must stand"),
        ("3 +", "ends at position 3"),
        ("12", "has '2' .numbers have one digit. at position 1, where an operator or '[)]'"),
        ("3(4)", "has '[(]' at position 1, where an operator or '[)]'"),
        ("3)", "has '[)]' at position 1, but no '[(]' before it"),
        ("2*(1+(3)", "has '[(]' at position 2, which is not closed"),
        ("3/4", "has '/' at position 1, but expressions are made of single digits"),
        ("-3", "has '-' at position 0"),
        ("1+" * 150 + "1", "'[+]' at position 201 makes a tree deeper than 100"),
    ],
)
def test_what_is_no_expression_is_refused_with_the_position(text, message):
    with pytest.raises(ValueError, match=message):
        parse(text)


def test_a_schedule_computes_values():
    trees = expressions(30, rng=np.random.default_rng(2), depths=(0, 4))
    plan = schedule(trees)
    time, batch = plan.symbols.shape
    table = np.zeros((batch, time + 1), dtype=np.int64)
    for t in range(time):
        for k in np.flatnonzero(plan.mask[t]):
            symbol = SYMBOLS[plan.symbols[t, k]]
            left, right = plan.children[t, k]
            assert left <= t  # known already
            assert right <= t
            if symbol.isdigit():
                assert left == right == 0
                table[k, t + 1] = int(symbol)
            else:
                table[k, t + 1] = eval(f"({table[k, left]}) {symbol} ({table[k, right]})")
    assert table[range(batch), plan.roots].tolist() == [tree.value() for tree in trees]
    assert not plan.symbols[~plan.mask].any()
    assert not plan.children[~plan.mask].any()


def test_expressions_differ_and_leave_out_what_they_shall():
    rng = np.random.default_rng(3)
    train = expressions(500, rng=rng, depths=(0, 2))
    assert len(set(train)) == 500
    assert {tree.depth for tree in train} == {0, 1, 2}
    test = expressions(100, rng=rng, depths=(1, 1), without=train)
    assert not set(test) & set(train)
    assert {tree.depth for tree in test} == {1}
    everything = expressions(310, rng=rng, depths=(0, 1))
    assert len(set(everything)) == 310
    again, other = (expressions(5, rng=np.random.default_rng(k)) for k in (1, 2))
    assert expressions(5, rng=np.random.default_rng(1)) == again != other


def test_text_tokens_are_those_of_the_texts():
    tokens, mask = text_tokens([parse("(1+2)*3"), parse("4")])
    assert ["".join(CHARACTERS[k] for k in tokens[mask[:, j], j]) for j in range(2)] == [
        "((1+2)*3)",
        "4",
    ]


def test_what_cannot_be_drawn_or_scheduled_is_refused():
    rng = np.random.default_rng(1)
    for call, message in (
        (lambda: expressions(301, rng=rng, depths=(1, 1)), "there are only 300 expressions"),
        (
            lambda: expressions(300, rng=rng, depths=(1, 1), without=[parse("1+1"), parse("1")]),
            "1 of which are not",
        ),
        (lambda: expressions(0, rng=rng), "n is 0"),
        (lambda: expressions(1, rng=rng, depths=(2, 1)), r"depths is \(2, 1\)"),
        (lambda: expressions(1, rng=rng, depths=(1, 11)), r"depths is \(1, 11\)"),
        (lambda: schedule([]), "a list of at least one expression"),
        (lambda: schedule(parse("1+1")), "a list of at least one expression"),
        (lambda: expressions(1, rng=rng, depths=3), "depths is 3"),
        (lambda: schedule([Expression("12")]), "'12' with 0 sides is not an expression"),
        (lambda: schedule([Expression("/", *2 * [parse("1")])]), "'/' with 2 sides"),
        (lambda: schedule([Expression("-", None, parse("1"))]), "'-' with 1 sides"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(TypeError, match="rng is 1"):
        expressions(1, rng=1)
    for call in (lambda: schedule(["1+2"]), lambda: expressions(1, rng=rng, without=["1+2"])):
        with pytest.raises(TypeError, match=r"'1\+2' is not an Expression: parse"):
            call()


def test_an_expression_knows_its_depth_and_nodes():
    tree = parse("1-2*(3+4)")
    assert tree.depth == 3
    assert [node.symbol for node in tree.nodes()] == [*"1234+*-"]
    assert Expression("5").depth == 0
