"""The kernels of a recurrent loop against the scans that compute the same."""

from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from borders import NEVER, Bordered
from pytensor.graph.traversal import ancestors

from symrnn.compiling.modes import QUICK
from symrnn.kernels import calls
from symrnn.kernels.calls import call_kernel, panels_size, spare
from symrnn.kernels.loop import SIZES
from symrnn.kernels.machine import n_threads
from symrnn.kernels.product import scratch_size
from symrnn.kernels.recurrence import LoopOp, Recurrence, RecurrenceGradient
from symrnn.nn.cells import Cell, ElmanCell, GRUCell, HiddenState, LinearCell, LSTMCell
from symrnn.nn.module import parameter
from symrnn.nn.recurrent import unroll
from symrnn.nn.wrappers import Zoneout

ATOL = {"float32": 1e-4, "float64": 1e-9}
N = 4  # hidden units of the cells; their kernels are called for other numbers too


class OwnCell(Cell):
    """A user's cell, with exp, softplus, a switch, and numbers and truth values of its own."""

    n_gates = 2
    State = HiddenState

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.leak = parameter("leak", (self.n_hidden,), np.linspace(-1, 1, self.n_hidden))

    def step(self, z, h):
        a, g = z
        keep = pt.sigmoid(self.leak) * pt.exp(-(a**2))
        odd = np.arange(self.n_hidden) % 2 == 1
        return HiddenState(pt.switch(odd, keep * h + (1 - keep) * pt.softplus(g), pt.tanh(a - h)))


CELLS = {
    "linear": LinearCell,
    "elman": ElmanCell,
    "elman relu": lambda *sizes, rng: ElmanCell(*sizes, rng=rng, activation="relu"),
    "lstm": LSTMCell,
    "lstm peepholes": lambda *sizes, rng: LSTMCell(*sizes, rng=rng, peepholes=True),
    "lstm of 1997": lambda *sizes, rng: LSTMCell(*sizes, rng=rng, gates="io", peepholes=True),
    "carousel": lambda *sizes, rng: LSTMCell(*sizes, rng=rng, gates="", bias=False),
    "gru": GRUCell,
    "own": OwnCell,
    "zoneout": lambda *sizes, rng: Zoneout(
        LSTMCell(*sizes, rng=rng), {"h": 0.3, "c": 0.5}, rng=np.random.default_rng(1)
    ),
}


class Loop:
    """The operations of a cell's loop, and functions that compute the same by scans."""

    def __init__(self, name, dtype, *, masked=False, truncate_every=None, of_all_steps=True):
        with pytensor.config.change_flags(floatX=dtype):
            cell = CELLS[name](2, N, rng=np.random.default_rng(0))
            x = pt.tensor("x", dtype=dtype, shape=(None, None, 2))
            start = [pt.tensor(dtype=dtype, shape=(None, N)) for _ in cell.State._fields]
            mask = pt.tensor("mask", dtype="bool", shape=(None, None)) if masked else None
            h, final = unroll(
                cell, x, initial_state=start, mask=mask, truncate_every=truncate_every
            )
            cost = sum((s**2).sum() for s in final) + ((h**2).sum() if of_all_steps else 0)
            graph = [h, *pytensor.grad(cost, [x, *start, *cell.params])]
        nodes = [v.owner for v in ancestors(graph) if v.owner and isinstance(v.owner.op, LoopOp)]
        self.nodes = [
            next(node for node in nodes if isinstance(node.op, kind))
            for kind in (Recurrence, RecurrenceGradient)
        ]
        self.dtype = dtype
        self.scans = [self._scan(node) for node in self.nodes]

    @staticmethod
    def alone(node):
        """Variables like the inputs of a node, of any shape."""
        alone = [pt.tensor(dtype=v.type.dtype, shape=(None,) * v.type.ndim) for v in node.inputs]
        for k, v in enumerate(node.inputs):
            if v.type.dtype == "bool" and v.type.ndim == 3 and v.type.broadcastable[2]:
                alone[k] = pt.tensor(dtype="bool", shape=(None, None, 1))
        return alone

    def _scan(self, node):
        alone = self.alone(node)
        results = node.op.scan(alone)
        return pytensor.function(alone, results, mode=QUICK, on_unused_input="ignore")

    def values(self, node, time, batch, n_hidden, rng):
        """Random inputs."""
        sizes = {"time": time, "batch": batch, "n_hidden": n_hidden, "one": 1}
        layout = node.op.kernel(node).layout
        values = []
        for v, shape in zip(node.inputs, layout.inputs.values(), strict=True):
            value = rng.normal(size=[factor * sizes[name] for factor, name in shape]) * 0.7
            values.append(value > -0.3 if v.type.dtype == "bool" else value.astype(self.dtype))
        return values

    def check(self, time, batch, n_hidden, change=lambda values: values, seed=0):
        """Compare forward and backward pass, for random inputs."""
        rng = np.random.default_rng(seed)
        for node, scan in zip(self.nodes, self.scans, strict=True):
            values = self.values(node, time, batch, n_hidden, rng)
            got = node.op.results(call_kernel(node.op.kernel(node), change(values)))
            for a, b in zip(got, scan(*values), strict=True):
                assert a.dtype == self.dtype
                scale = max(1.0, np.abs(b).max(initial=0))
                np.testing.assert_allclose(a / scale, b / scale, atol=ATOL[self.dtype], rtol=0)


@cache
def loop(*args, **options):
    return Loop(*args, **options)


@pytest.mark.parametrize("name", CELLS)
def test_every_cell_in_every_size_equals_the_scan(name):
    for time, batch, n_hidden in (
        *((1, 1, 1), (3, 2, 15), (2, 33, 16), (3, 5, 17), (2, 3, 33), (4, 70, 3), (9, 1, 8)),
    ):
        loop(name, "float64").check(time, batch, n_hidden)


@pytest.mark.parametrize("name", ["lstm", "own"])
def test_kernels_in_float32_equal_the_scan(name):
    for time, batch, n_hidden in ((1, 1, 1), (3, 33, 17), (2, 5, 33), (3, 1, 16), (9, 1, 31)):
        loop(name, "float32").check(time, batch, n_hidden)


@pytest.mark.parametrize("truncate_every", [None, 1, 2, 3])
@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_truncated_gradients_equal_the_scan(name, truncate_every):
    for time in (1, 2, 3, 4, 7):
        loop(name, "float64", truncate_every=truncate_every).check(time, 3, 5)


@pytest.mark.parametrize("name", ["elman", "lstm", "gru", "own", "zoneout"])
def test_masked_steps_equal_the_scan(name):
    for time, batch, n_hidden in ((1, 1, 1), (5, 34, 17), (3, 2, 16)):
        loop(name, "float64", masked=True).check(time, batch, n_hidden)


def test_a_final_state_alone_gives_the_gradient_of_the_scan():
    one = loop("lstm", "float64", of_all_steps=False)
    assert not one.nodes[1].op.from_outside
    one.check(4, 3, 17)
    one.check(1, 1, 1)


LAYOUTS = {
    "transposed": lambda x: np.asfortranarray(x),
    "every other": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
    "backwards": lambda x: np.ascontiguousarray(x[::-1])[::-1],
    "reversed in the last axis": lambda x: np.ascontiguousarray(x[..., ::-1])[..., ::-1],
    "not aligned": lambda x: np.frombuffer(b"1" * x.itemsize + x.tobytes(), x.dtype, -1)[
        1:
    ].reshape(x.shape),
    "read only": lambda x: _read_only(x),
}


def _read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


@pytest.mark.parametrize("layout", LAYOUTS)
def test_inputs_may_have_any_memory_layout(layout):
    change = LAYOUTS[layout]
    loop("lstm", "float64", masked=True).check(4, 3, 9, lambda values: [change(v) for v in values])


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", ["lstm", "own", "zoneout", "gru"])
def test_nothing_outside_of_the_arrays_is_read_or_written(name, masked):
    one = loop(name, "float64", masked=masked)
    rng = np.random.default_rng(1)
    for time, batch, n_hidden in ((1, 1, 1), (3, 2, 9), (2, 35, 7), (4, 3, 16), (7, 1, 11)):
        sizes = {"time": time, "batch": batch, "n_hidden": n_hidden, "one": 1}
        for node in one.nodes:
            kernel, values = node.op.kernel(node), one.values(node, time, batch, n_hidden, rng)
            layout = kernel.layout
            given = dict(zip(layout.inputs, map(Bordered, values), strict=True))
            made = {}
            for key, shape in {**layout.outputs, **layout.working}.items():
                empty = np.full([factor * sizes[size] for factor, size in shape], np.nan)
                source = layout.initial.get(key)
                if key in layout.initial:
                    empty = np.zeros_like(empty) if source is None else given[source].array
                made[key] = Bordered(empty, NEVER)
            for key, n in {
                "panels": panels_size(layout, n_hidden, "float64"),
                "scratch": scratch_size("float64", n_threads()) + spare("float64"),
            }.items():
                made[key] = Bordered(np.full(n, np.nan), NEVER)
            numbers = {"n_threads": n_threads(), **sizes}
            addresses = {key: a.address for key, a in {**given, **made}.items()}
            job = np.array([{**addresses, **numbers}[key] for key in layout.job], np.int64)
            assert set(SIZES) <= set(layout.job)
            before = [v.copy() for v in values]
            kernel.call(job.ctypes.data)
            assert all(a.is_intact() for a in (*given.values(), *made.values()))
            for a, b in zip(given.values(), before, strict=True):
                np.testing.assert_array_equal(a.array, b)  # inputs are left as they are
            expected = call_kernel(kernel, values)
            for key, b in zip(layout.outputs, expected, strict=True):
                assert np.isfinite(b).all()
                np.testing.assert_array_equal(made[key].array, b, err_msg=key)


def test_the_result_does_not_depend_on_the_number_of_threads(monkeypatch):
    one, rng = loop("lstm", "float32"), np.random.default_rng(2)
    for node in one.nodes:
        values = one.values(node, 6, 70, 80, rng)
        results = []
        for n in (1, 2, 3):
            monkeypatch.setattr(calls, "n_threads", lambda n=n: n)
            results.append(call_kernel(node.op.kernel(node), values))
        for a, *others in zip(*results, strict=True):
            for b in others:
                np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)


def test_one_kernel_may_be_called_by_several_threads_at_once():
    one, rng = loop("lstm", "float64"), np.random.default_rng(3)
    cases = [
        (node, one.values(node, time, batch, n_hidden, rng))
        for time, batch, n_hidden in ((20, 3, 17), (5, 33, 65), (30, 40, 90), (3, 1, 8))
        for node in one.nodes
    ]
    wanted = [call_kernel(node.op.kernel(node), values) for node, values in cases]

    def work(shift):
        for k in range(12 * len(cases)):
            node, values = cases[(k + shift) % len(cases)]
            expected = wanted[(k + shift) % len(cases)]
            for a, b in zip(call_kernel(node.op.kernel(node), values), expected, strict=True):
                np.testing.assert_array_equal(a, b)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4))) == [None] * 4


def test_wrong_shapes_raise_and_say_which():
    one, rng = loop("lstm", "float64"), np.random.default_rng(4)
    for node in one.nodes:
        kernel = node.op.kernel(node)
        for k in range(len(kernel.layout.inputs)):
            values = one.values(node, 3, 2, 5, rng)
            values[k] = values[k][..., :-1]
            with pytest.raises(ValueError, match="a recurrent layer got"):
                call_kernel(kernel, values)
            values = one.values(node, 3, 2, 5, rng)
            values[k] = values[k].astype("float32")
            with pytest.raises(TypeError, match=r"of dtype float(32|64), not"):
                call_kernel(kernel, values)
        for time, batch in ((0, 2), (3, 0)):
            with pytest.raises(ValueError, match="needs at least one"):
                call_kernel(kernel, one.values(node, time, batch, 5, rng))


def everything(cell, x, start, implementation):
    h, final = unroll(cell, x, initial_state=start, reverse=True, implementation=implementation)
    return [h, *final, *pytensor.grad((h**2).sum() + final[0].sum(), [x, *start, *cell.params])]


@pytest.mark.slow
@pytest.mark.numba
def test_numba_calls_the_same_kernels():
    one, rng = loop("zoneout", "float64", masked=True), np.random.default_rng(5)
    for node in one.nodes:
        alone = one.alone(node)
        f = pytensor.function(alone, node.op(*alone, return_list=True), mode="NUMBA")
        for time, batch, n_hidden in ((1, 1, 1), (3, 34, 17), (4, 3, 16)):
            values = one.values(node, time, batch, n_hidden, rng)
            expected = node.op.results(call_kernel(node.op.kernel(node), values))
            for a, b in zip(f(*map(np.asfortranarray, values)), expected, strict=True):
                np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)
        for k, v in enumerate(alone):
            values = one.values(node, 3, 4, 5, rng)
            values[k] = values[k][..., :-1] if v.type.dtype != "bool" else values[k][:, :-1]
            with pytest.raises(ValueError, match=r"recurrent layer|broadcast"):
                f(*values)
        with pytest.raises(ValueError, match="at least one"):
            f(*one.values(node, 3, 0, 5, rng))


@pytest.mark.parametrize("mode", [QUICK, "FAST_COMPILE"])
def test_a_compiled_function_calls_the_kernels_and_equals_the_scan(mode):
    cell, x = LSTMCell(2, 17, rng=np.random.default_rng(0)), pt.dtensor3("x")
    start, rng = [pt.dmatrix("h"), pt.dmatrix("c")], np.random.default_rng(1)
    by_kernel = pytensor.function([x, *start], everything(cell, x, start, "kernel"), mode=mode)
    by_scan = pytensor.function([x, *start], everything(cell, x, start, "scan"), mode=QUICK)
    kinds = [type(node.op).__name__ for node in by_kernel.maker.fgraph.apply_nodes]
    assert kinds.count("Recurrence") == kinds.count("RecurrenceGradient") == 1
    assert "Scan" not in kinds
    for time, batch in ((1, 1), (5, 33), (3, 2)):
        values = [rng.normal(size=(time, batch, 2)), *rng.normal(size=(2, batch, 17))]
        values[0] = values[0].transpose(2, 1, 0).copy().T  # of any memory layout
        for got, expected in zip(by_kernel(*values), by_scan(*values), strict=True):
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-9)
    with pytest.raises(ValueError, match=r"recurrent|shape|dimension"):
        by_kernel(np.ones((3, 2, 2)), np.ones((3, 17)), np.ones((2, 17)))


def test_an_operation_that_kernels_do_not_know_leaves_the_scan():
    class Unknown(Cell):
        n_gates = 1
        State = HiddenState

        def step(self, z, h):
            return HiddenState(pt.gammaln(1 + pt.sigmoid(z[0])) + h / 2)

    cell, x = Unknown(2, 3, rng=np.random.default_rng(0)), pt.dtensor3("x")
    f, g = (
        pytensor.function([x], everything(cell, x, [pt.zeros((x.shape[1], 3))], way), mode=QUICK)
        for way in ("kernel", "scan")
    )
    kinds = [type(node.op).__name__ for node in f.maker.fgraph.apply_nodes]
    assert "Recurrence" not in kinds
    assert "Scan" in kinds
    value = np.random.default_rng(1).normal(size=(4, 3, 2))
    for got, expected in zip(f(value), g(value), strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-9)


def test_second_derivatives_are_partial_ones_though_inputs_depend_on_each_other():
    cell, x = ElmanCell(2, 3, rng=np.random.default_rng(0)), pt.dtensor3("x")
    wanted = {}
    for way in ("kernel", "scan"):
        first = pt.tanh(x[0] @ cell.W_x)  # an initial state that depends on the weights
        h, final = unroll(cell, x, initial_state=(first,), implementation=way)
        gradients = pytensor.grad((h**3).sum() + final[0].sum(), [x, *cell.params])
        wanted[way] = pytensor.grad(sum((d**2).sum() for d in gradients), [x, *cell.params])
    value = np.random.default_rng(1).normal(size=(4, 3, 2))
    results = pytensor.function([x], wanted["kernel"] + wanted["scan"], mode=QUICK)(value)
    for got, expected in zip(results[:4], results[4:], strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-9)
