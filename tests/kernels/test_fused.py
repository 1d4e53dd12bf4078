"""Loop fusion against NumPy and against PyTensor's own operations."""

import itertools

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.tensor.elemwise import CAReduce, Elemwise

from symrnn.compiling.modes import QUICK
from symrnn.kernels.fused import BLOCK, Fused
from symrnn.training.clipping import clip_by_global_norm
from symrnn.training.optimizers import adam, rmsprop

DTYPES = ["float32", "float64"]
SIZES = [(1, 1), (3, 5), (7, 31), (1, BLOCK), (BLOCK + 1, 1), (33, 129), (0, 4)]


def precision(dtype):
    return 2e-6 if dtype == "float32" else 1e-13


def nodes(f, kind):
    return [node for node in f.maker.fgraph.toposort() if isinstance(node.op, kind)]


def compare(inputs, outputs, values, dtype, n_fused=None):
    """Outputs in mode QUICK are those of PyTensor's own operations."""
    ours = pytensor.function(inputs, outputs, mode=QUICK)
    others = pytensor.function(inputs, outputs, mode="FAST_COMPILE")
    if n_fused is not None:
        assert len(nodes(ours, Fused)) == n_fused
    for one, other in zip(ours(*values), others(*values), strict=True):
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=precision(dtype), atol=precision(dtype))
    return ours


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SIZES)
def test_expressions_of_any_shape_equal_pytensors(shape, dtype):
    x, y = pt.matrix("x", dtype=dtype), pt.matrix("y", dtype=dtype)
    a = pt.scalar("a", dtype=dtype)
    rng = np.random.default_rng(1)
    given = [rng.normal(size=shape).astype(dtype) for _ in range(2)]
    outputs = [
        pt.tanh(x * y + a) / (1 + pt.exp(-x)),
        (x + a) * y - pt.sqrt(abs(x)),
        pt.switch(pt.lt(x, y), x * a, np.array(0, "int8")),
        pt.lt(x + y, a),
    ]
    compare([x, y, a], outputs, [*given, np.array(0.25, dtype)], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SIZES[:-1])
def test_sums_and_maxima_over_all_numbers(shape, dtype):
    x = pt.matrix("x", dtype=dtype)
    value = np.random.default_rng(1).normal(size=shape).astype(dtype)
    outputs = [((x - 1) ** 2).sum(), abs(x).max(), x.sum(), (-x).sum(axis=(0, 1))]
    f = compare([x], outputs, [value], dtype)
    assert not nodes(f, CAReduce)


def test_a_sum_of_many_float32_numbers_keeps_its_digits():
    x = pt.vector("x", dtype="float32")
    value = np.random.default_rng(1).random(1_000_003, dtype=np.float32)
    total = pytensor.function([x], (x * 1.0).sum(), mode=QUICK)(value)
    assert abs(total / value.sum(dtype=np.float64) - 1) < 2e-7


def test_the_maximum_of_nothing_is_refused_and_its_sum_is_0():
    x = pt.vector("x")
    empty = np.zeros(0, pytensor.config.floatX)
    assert pytensor.function([x], (2 * x).sum(), mode=QUICK)(empty) == 0
    with pytest.raises(ValueError, match="zero-size"):
        pytensor.function([x], (2 * x).max(), mode=QUICK)(empty)


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_and_infinity_stay(dtype):
    x = pt.vector("x", dtype=dtype)
    value = np.array([np.nan, np.inf, -np.inf, 1.0, 0.0] * 7, dtype)
    compare(
        [x], [pt.exp(x) * 2, abs(x) + 1, pt.sqr(x).max(), pt.isnan(x) | pt.isinf(x)], [value], dtype
    )
    only_last = np.ones(BLOCK + 3, dtype)
    only_last[-1] = np.nan
    f = pytensor.function([x], [(2 * x).max(), (2 * x).sum()], mode=QUICK)
    assert np.isnan(f(only_last)).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_exp_is_accurate_everywhere(dtype):
    x = pt.vector("x", dtype=dtype)
    both = pytensor.function([x], [pt.exp(x), pt.exp(x) > 1], mode=QUICK)
    assert nodes(both, Fused)

    def f(value):
        return both(value)[0]

    single = dtype == "float32"
    limits = (-87.3, 88.72) if single else (-708.3, 709.78)
    value = np.linspace(*limits, 200_003).astype(dtype)
    exact = np.exp(value.astype(np.longdouble))
    error = np.abs(f(value) / exact - 1).max()
    assert error < (1.5e-7 if single else 4e-16)
    edge = np.array([-1e4, -np.inf, 1e4, np.inf, 0.0, -0.0, *limits], dtype)
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(f(edge), np.exp(edge), rtol=2e-7)
    small = np.linspace(limits[0] - 18, limits[0], 1001).astype(dtype)  # denormal results
    smallest = np.finfo(dtype).smallest_subnormal
    np.testing.assert_allclose(f(small), np.exp(small), rtol=3e-7, atol=smallest)


@pytest.mark.parametrize("layout", ["transposed", "reversed", "every second"])
def test_arrays_of_any_memory_layout(layout):
    x, y = pt.matrices("x", "y")
    value = np.random.default_rng(1).normal(size=(40, 30))
    other = np.random.default_rng(2).normal(size=(60, 40)).T
    value = {
        "transposed": np.asfortranarray(value),
        "reversed": value[::-1, ::-1],
        "every second": np.repeat(value, 2, axis=1)[:, ::2],
    }[layout]
    f = pytensor.function([x, y], x * y[:, ::2] + 1, mode=QUICK)
    np.testing.assert_allclose(f(value, other), value * other[:, ::2] + 1)


def test_arrays_of_two_shapes_are_refused():
    x, y = pt.matrices("x", "y")
    f = pytensor.function([x, y], x * y + 1, mode=QUICK)
    assert nodes(f, Fused)
    for shape in [(3, 1), (1, 4), (4, 3), (12, 1)]:
        with pytest.raises(ValueError, match="one shape"):
            f(np.ones((3, 4)), np.ones(shape))


PATTERNS = [
    ((7, 5, 1), (7, 5, 33)),
    ((1, 1, 33), (7, 5, 33)),
    ((1, 5, 33), (7, 5, 33)),
    ((7, 1, 33), (7, 5, 33)),
    ((7, 1, 1), (7, 5, 33)),
    ((1, 5, 1), (7, 5, 33)),
    ((9, 1), (9, BLOCK + 3)),
    ((1, 3), (BLOCK + 1, 3)),
    ((300, 1), (300, 7)),
    ((3, 1, 4, 1), (3, 5, 4, 17)),
    ((1, 5, 1, 17), (3, 5, 4, 17)),
    ((4, 0, 1), (4, 0, 3)),
    ((4, 2, 1), (4, 2, 0)),
    ((1, 1, 0), (4, 2, 0)),
]


def broadcast_inputs(small, large, dtype):
    """Variables and values: an array, and a mask and a factor that are broadcast to its shape."""
    rng = np.random.default_rng(1)
    shape = tuple(1 if k == 1 else None for k in small)
    x = pt.tensor("x", dtype=dtype, shape=(None,) * len(large))
    mask = pt.tensor("mask", dtype="bool", shape=shape)
    factor = pt.tensor("factor", dtype=dtype, shape=shape)
    numbers = [rng.normal(size=size).astype(dtype) for size in (large, small)]
    return [x, mask, factor], [numbers[0], rng.random(small) < 0.5, numbers[1]]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("small", "large"), PATTERNS)
def test_masks_and_factors_that_are_broadcast(small, large, dtype):
    (x, mask, factor), values = broadcast_inputs(small, large, dtype)
    zero = np.array(0, "int8")
    compare([x, mask], [pt.switch(mask, x, zero)], values[:2], dtype, n_fused=1)
    y = x - factor
    outputs = [
        pt.switch(mask, y, zero) + 1,
        pt.switch(mask, zero, pt.tanh(y * factor)),
        pt.lt(y, factor),
        abs(y).sum(),
    ]
    f = compare([x, mask, factor], outputs, values, dtype, n_fused=1)
    assert not nodes(f, (Elemwise, CAReduce))


@pytest.mark.parametrize("dtype", DTYPES)
def test_several_kinds_of_broadcast_inputs_in_one_loop(dtype):
    rng = np.random.default_rng(1)
    shapes = [(6, 9, 19), (6, 9, 1), (1, 1, 19), (1, 9, 19), (1, 9, 1)]
    inputs = [pt.tensor(dtype=dtype, shape=[1 if k == 1 else None for k in s]) for s in shapes]
    values = [rng.normal(size=s).astype(dtype) for s in shapes]
    x, scale, bias, dropout, other = inputs
    y = (x - scale) * dropout
    outputs = [pt.tanh(y) + bias, y * other * 0.5, abs(y * bias).max()]
    compare(inputs, outputs, values, dtype, n_fused=1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("small", "large"), PATTERNS)
def test_broadcast_inputs_of_any_memory_layout(small, large, dtype):
    inputs, values = broadcast_inputs(small, large, dtype)
    x, mask, factor = inputs
    f = pytensor.function(inputs, pt.switch(mask, x * factor, 0), mode=QUICK)
    expected = f(*values)
    for layout in (
        np.asfortranarray,
        lambda v: v[::-1].copy()[::-1],
        lambda v: np.repeat(v, 2, axis=0)[::2],
        lambda v: np.repeat(v, 2, axis=-1)[..., ::2],
    ):
        np.testing.assert_array_equal(f(*map(layout, values)), expected)


def test_a_large_array_with_its_axes_in_any_order():
    x, y = pt.tensor3s("x", "y")
    f = pytensor.function([x, y], x * y + 1, mode=QUICK)
    value, other = (np.random.default_rng(k).normal(size=(20, 70, 60)) for k in range(2))
    for order in itertools.permutations(range(3)):
        turned = value.transpose(order).copy().transpose(np.argsort(order))
        np.testing.assert_allclose(f(turned, other), value * other + 1)
        np.testing.assert_allclose(f(turned[:, ::-1], other), value[:, ::-1] * other + 1)


@pytest.mark.parametrize("other", [(7, 4, 1), (6, 5, 1), (35, 1, 1), (1, 5, 1), (7, 1, 1)])
def test_masks_of_another_length_are_refused(other):
    (x, mask, _), (value, _, _) = broadcast_inputs((7, 5, 1), (7, 5, 33), "float64")
    f = pytensor.function([x, mask], pt.switch(mask, x, 0), mode=QUICK)
    assert nodes(f, Fused)
    with pytest.raises(ValueError, match="one shape"):
        f(value, np.ones(other, bool))


def test_a_bias_of_another_length_is_refused():
    (x, _, bias), (value, _, _) = broadcast_inputs((1, 1, 33), (7, 5, 33), "float64")
    f = pytensor.function([x, bias], x * 2 + bias, mode=QUICK)
    assert nodes(f, Fused)
    with pytest.raises(ValueError, match="one shape"):
        f(value, np.ones((1, 1, 32)))


def test_arrays_with_the_same_broadcast_inputs_share_a_kernel():
    (x, mask, _), values = broadcast_inputs((7, 5, 1), (7, 5, 33), "float32")
    (y, other, _), more = broadcast_inputs((9, 1), (9, 4), "float32")
    outputs = [pt.switch(mask, x, 0), pt.switch(other, y, 0.0)]
    f = compare([x, mask, y, other], outputs, [*values[:2], *more[:2]], "float32", n_fused=2)
    assert len({node.op.expressions for node in nodes(f, Fused)}) == 1


def test_nothing_is_written_beside_rows():
    x, mask = pt.matrix("x", dtype="float32"), pt.tensor("mask", dtype="bool", shape=(None, 1))
    f = pytensor.function([x, mask], pt.switch(mask, x, 5.0), mode=QUICK)
    for n in range(1, 40):
        value = np.arange(3 * n, dtype=np.float32).reshape(3, n)
        keep = np.array([[True], [False], [True]])
        np.testing.assert_array_equal(f(value, keep), np.where(keep, value, 5))


def test_nothing_is_written_beside_the_results():
    x = pt.vector("x", dtype="float32")
    f = pytensor.function([x], [x * 2 + 1, pt.lt(x * 2, 1)], mode=QUICK)
    for n in range(1, 70):
        for one in f(np.ones(n, np.float32)):
            assert one.shape == (n,)
        border = np.full(n + 64, -7.0, np.float32)
        f(border[32:-32])
        assert (border == -7).all()


def test_inputs_are_not_changed():
    x = pt.vector("x")
    value = np.arange(2000.0)
    pytensor.function([x], [x * 2 + 1, (x * 2).sum()], mode=QUICK)(value)
    np.testing.assert_array_equal(value, np.arange(2000.0))


def test_what_lies_between_two_parts_of_a_group_keeps_them_apart():
    x = pt.matrix("x")
    scaled = x * 2 + 1
    normalised = scaled / abs(scaled).max()  # needs a number of all elements
    sums = pt.exp(scaled) + scaled.sum(axis=0)
    value = np.random.default_rng(1).normal(size=(50, 60))
    compare([x], [normalised + scaled, sums * 2 + normalised], [value], "float64")
    crossed = [scaled.T @ x + 1, (scaled @ x.T).sum(axis=1) + scaled[:, 0]]
    compare([x], crossed, [value], "float64")


def test_two_groups_that_need_each_other_in_turn_make_no_cycle():
    x, y = pt.matrices("x", "y")
    a, c = x * 2, y * 3
    b = (a @ y.T)[:, :60] + 0 * y  # depends on a, is in a group with y
    d = (c @ x.T)[:, :60] + 0 * x + a  # depends on c, is in a group with a
    value = [np.random.default_rng(k).normal(size=(60, 60)) for k in range(2)]
    compare([x, y], [b + c, d, a, c], value, "float64")


def test_arrays_that_are_broadcast_to_a_shape_that_no_input_has():
    x, y = pt.tensor("x", shape=(None, 1)), pt.tensor("y", shape=(1, None))
    values = [np.arange(1.0, 5.0)[:, None], np.arange(1.0, 8.0)[None]]
    compare([x, y], [x * y, pt.tanh(x - y) + x], values, "float64")


def test_rows_of_one_number():
    x, y = pt.tensor("x", shape=(None, None, 1)), pt.tensor("y", shape=(1, None, 1))
    values = [np.random.default_rng(k).normal(size=s) for k, s in enumerate([(4, 5, 1), (1, 5, 1)])]
    compare([x, y], [x * y + 1, pt.tanh(x * 2 - y).sum()], values, "float64")


def test_what_a_group_depends_on_counts_for_what_depends_on_the_group():
    x, y = pt.matrices("x", "y")
    values = [np.random.default_rng(k).normal(size=(6, 6)) for k in range(2)]
    a = x * 2
    u = a.T * 3  # depends on a
    b = y @ y
    c = a + b  # joins the group of a, which depends on the product now, and u with it
    d = pt.tanh(c).T + u
    e = (d @ y) + c * (b + 1)
    f = pt.exp(-e.T) + u * d
    compare([x, y], [c, d, e, f, u], values, "float64")


def test_random_graphs_compute_the_same():
    rng = np.random.default_rng(3)
    for _ in range(12):
        inputs = [pt.matrix() for _ in range(3)]
        known = [*inputs]
        for _ in range(25):
            a, b = (known[k] for k in rng.integers(max(0, len(known) - 8), len(known), 2))
            known.append(
                [
                    lambda a, b: a + b,
                    lambda a, b: a * b,
                    lambda a, b: pt.tanh(a) - b,
                    lambda a, b: a / (1 + abs(b).max()),
                    lambda a, b: a.T,
                    lambda a, b: a + b.mean(),
                    lambda a, b: pt.switch(pt.gt(a, b), a, 0.5),
                    lambda a, b: a - b.max(axis=0),
                    lambda a, b: pt.tanh(a @ b),
                ][rng.integers(9)](a, b)
            )
        outputs = [known[k] for k in rng.integers(3, len(known), 4)] + [known[-1] + sum(inputs)]
        values = [rng.normal(size=(6, 6)) for _ in inputs]
        compare(inputs, outputs, values, "float64")


@pytest.mark.parametrize("optimizer", [adam, rmsprop])
@pytest.mark.parametrize("dtype", DTYPES)
def test_an_optimizers_update_is_one_node_for_each_weight(optimizer, dtype):
    def trained(mode):
        rng = np.random.default_rng(1)
        shapes = [(4, 6), (6,), (6, 6)]
        params = [
            pytensor.shared(rng.normal(size=s).astype(dtype), name=f"p{k}")
            for k, s in enumerate(shapes)
        ]
        x = pt.matrix("x", dtype=dtype)
        loss = (pt.tanh(x @ params[0] + params[1]) @ params[2]).sum()
        gradients = clip_by_global_norm(pytensor.grad(loss, params), 1.0)
        f = pytensor.function([x], loss, updates=optimizer(gradients, params, 0.1), mode=mode)
        for _ in range(3):
            f(np.random.default_rng(2).normal(size=(3, 4)).astype(dtype))
        return f, [p.get_value() for p in params]

    with pytensor.config.change_flags(floatX=dtype):
        f, ours = trained(QUICK)
        _, others = trained("FAST_COMPILE")
    for one, other in zip(ours, others, strict=True):
        np.testing.assert_allclose(one, other, rtol=10 * precision(dtype), atol=precision(dtype))
    updates = [n for n in nodes(f, Fused) if len(n.op.expressions.steps) > 5]
    assert len(updates) == 3
    assert len({n.op.expressions for n in updates}) == 1  # one kernel for all


def test_two_constants_that_compare_equal_are_two():
    x = pt.vector("x")
    for c in (0.0, -0.0):
        f = pytensor.function([x], pt.minimum(abs(x), c) * 2, mode=QUICK)
        assert nodes(f, Fused)
        assert (np.signbit(f(np.array([1.0, -1.0]))) == np.signbit(c)).all()
