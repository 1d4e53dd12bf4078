"""The loop of a recurrent layer as one kernel, and its backward pass as another.

With ``z_t = zx_t + h_{t-1} W_h`` and ``state_t = step(z_t, state_{t-1})``, the kernels compute ::

    forward                                      backward
    for t in 0 ... time - 1:                     for t in time - 1 ... 0:
        z = h_{t-1} @ W_h + zx_t                     d_z_t, d_state = gradient of the step
        state_t, saved_t = step(z, state_{t-1})      d_h += d_z_t @ W_h.T
                                                 d_W_h = sum_t h_{t-1}.T @ d_z_t

for some rows of the batch after the others: what belongs to a few rows stays in cache from step to
step, and each thread has rows of its own. The product is that of `symrnn.kernels.product`, the
elementwise part that of `symrnn.kernels.elementwise`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from llvmlite import ir
from pytensor.graph.basic import Variable
from pytensor.graph.replace import graph_replace
from pytensor.graph.traversal import ancestors

from symrnn.kernels.elementwise import Rows, write_elementwise
from symrnn.kernels.machine import load_kernel
from symrnn.kernels.product import PRODUCT_JOB, load_product, panel_width, write_multiply
from symrnn.kernels.step_rows import StepRows
from symrnn.kernels.threads import work_arguments
from symrnn.kernels.writing import I8, I64, JOB, Array, Code, Int

ROWS_AT_A_TIME = 32
"""Rows of the batch that go through all steps together."""
MANY_ROWS, LARGE = 400, 2**18
"""Rows, of all steps together, and numbers of W_h, from which on it pays to pack W_h."""
SIZES = ("n_threads", "time", "batch", "n_hidden")

Shape = tuple[tuple[int, str], ...]
"""For each axis a factor and the size that it multiplies: ``(4, "n_hidden")``."""


class Layout:
    """The arrays that a kernel works with, in the order of its job.

    Parameters
    ----------
    inputs, outputs
        Names and shapes.
    initial
        For an output that the kernel adds to or changes, the input that it begins as, or None for
        zeros.
    panels
        The shape of the matrix that the kernel packs for its product.
    working
        Names and shapes of arrays to work in.
    """

    def __init__(
        self,
        inputs: dict[str, Shape],
        outputs: dict[str, Shape],
        *,
        initial: dict[str, str | None],
        panels: Shape,
        working: dict[str, Shape],
    ) -> None:
        self.inputs, self.outputs, self.initial = inputs, outputs, initial
        self.panels, self.working = panels, working
        read = [name for name in inputs if name not in initial.values()]
        self.job = (*SIZES, *read, *outputs, *working, "panels", "scratch")

    def read(self, code: Code, job: ir.Value) -> dict[str, Any]:
        """Return the sizes, and the arrays."""
        given = {name: code.given(job, k) for k, name in enumerate(self.job)}
        return {
            name: value if name in SIZES else Array(code, code.pointer(value))
            for name, value in given.items()
        }


def numbered(name: str, n: int) -> list[str]:
    """Return ``[name0, name1, ...]``."""
    return [f"{name}{k}" for k in range(n)]


TIME, BATCH, HIDDEN, ONE = (1, "time"), (1, "batch"), (1, "n_hidden"), (1, "one")


def given_to_step(rows: StepRows, masks_shared: Sequence[bool]) -> dict[str, Shape]:
    """Return names and shapes of what a step has besides its gates, in both directions."""
    at_one_step = [*numbered("start", len(rows.states)), *numbered("captured", len(rows.captured))]
    masks = zip(numbered("mask", len(masks_shared)), masks_shared, strict=True)
    return {
        **dict.fromkeys(at_one_step, (BATCH, HIDDEN)),
        **{name: (TIME, BATCH, ONE if shared else HIDDEN) for name, shared in masks},
    }


def forward_layout(rows: StepRows, masks_shared: Sequence[bool]) -> Layout:
    """Return the arrays of the forward kernel."""
    zx, zh = ((len(part), "n_hidden") for part in (rows.gates[0], rows.gates[-1]))
    return Layout(
        {"zx": (TIME, BATCH, zx), "W_h": (HIDDEN, zh), **given_to_step(rows, masks_shared)},
        {
            **dict.fromkeys(numbered("state", len(rows.states)), (TIME, BATCH, HIDDEN)),
            "saved": (TIME, BATCH, (len(rows.saved), "n_hidden")),
        },
        initial={},
        panels=(HIDDEN, zh),
        working={"z": (BATCH, zh)},
    )


def backward_layout(rows: StepRows, masks_shared: Sequence[bool], *, from_outside: bool) -> Layout:
    """Return the arrays of the backward kernel."""
    zx, zh = ((len(part), "n_hidden") for part in (rows.gates[0], rows.gates[-1]))
    d_start, d_final = (numbered(name, len(rows.states)) for name in ("d_start", "d_final"))
    d_captured = numbered("d_captured", len(rows.d_captured))
    all_steps = [*numbered("state", len(rows.states)), *(["d_h"] if from_outside else [])]
    return Layout(
        {
            **dict.fromkeys(all_steps, (TIME, BATCH, HIDDEN)),
            **{"W_h": (HIDDEN, zh), "saved": (TIME, BATCH, (len(rows.saved), "n_hidden"))},
            **dict.fromkeys(d_final, (BATCH, HIDDEN)),
            **given_to_step(rows, masks_shared),
        },
        {
            **{"d_zx": (TIME, BATCH, zx), "d_W_h": (HIDDEN, zh)},
            **dict.fromkeys([*d_start, *d_captured], (BATCH, HIDDEN)),
        },
        initial={**dict(zip(d_start, d_final, strict=True)), **dict.fromkeys(d_captured)},
        panels=(zh, HIDDEN),
        working={"d_zh": (TIME, BATCH, zh)} if len(rows.gates) == 2 else {},
    )


class Kernel(NamedTuple):
    """A kernel, ready to be called."""

    layout: Layout
    """Its arrays."""
    symbol: str
    """Its name, by which other compiled code may call it."""
    call: Callable[[int], None]
    """Calls it; the argument is the address of a job."""


def load_forward(rows: StepRows, dtype: str, masks_shared: Sequence[bool]) -> Kernel:
    """Compile the forward kernel.

    Parameters
    ----------
    masks_shared
        For each update mask, whether it has one number for all units.
    """
    load_product(dtype)
    module, layout = ir.Module("forward"), forward_layout(rows, masks_shared)
    write_forward_work(module, rows, layout, dtype, masks_shared)
    write_kernel(module, rows, layout, dtype)
    return Kernel(layout, *load_kernel(str(module)))


def load_backward(
    rows: StepRows,
    dtype: str,
    masks_shared: Sequence[bool],
    *,
    from_outside: bool,
    truncate_every: int | None,
) -> Kernel:
    """Compile the backward kernel.

    Parameters
    ----------
    from_outside
        Whether the gradient of h of all steps is given.
    """
    load_product(dtype)
    module = ir.Module("backward")
    layout = backward_layout(rows, masks_shared, from_outside=from_outside)
    write_backward_work(
        module, rows, layout, dtype, masks_shared,
        from_outside=from_outside, truncate_every=truncate_every,
    )  # fmt: skip
    write_kernel(module, rows, layout, dtype, backward=True)
    return Kernel(layout, *load_kernel(str(module)))


def write_forward_work(
    module: ir.Module, rows: StepRows, layout: Layout, dtype: str, masks_shared: Sequence[bool]
) -> None:
    """Write what one thread does: all steps, for the rows of the batch from lo to hi."""
    code = Code(module, "work", work_arguments(), dtype, private=True)
    lo, hi, _, job = code.arguments
    given = layout.read(code, job)
    time, n_hidden = given["time"], given["n_hidden"]
    n_zx, n_zh = n_hidden * len(rows.gates[0]), n_hidden * len(rows.gates[-1])
    additive, steps = len(rows.gates) == 1, Steps(code, rows, given, masks_shared)
    zx, z = steps.all("zx", n_zx), steps.one("z", n_zh)
    panels, saved = given["panels"], steps.all("saved", n_hidden * len(rows.saved))
    with blocks(code, lo, hi) as (first, last), code.loop(time) as t:
        before = steps.before(t)
        write_multiply(
            *(code, first, last, before[0], panels, z, n_hidden, n_zh),
            *(zx[t] if additive else None, given["W_h"], is_packed(code, given, n_zh)),
        )
        with code.loop(first, last) as row:
            gates = [z.at(row, 0)] if additive else [zx.at(t, row, 0), z.at(row, 0)]
            inputs = [Rows(part, Array(code, p)) for part, p in zip(rows.gates, gates, strict=True)]
            inputs += steps.rows(t, row, before)
            outputs = [
                Rows([v], Array(code, steps.all(f"state{k}").at(t, row, 0)))
                for k, v in enumerate(rows.new_states)
            ]
            outputs += [Rows(rows.saved_values, Array(code, saved.at(t, row, 0)))]
            write_elementwise(code, n_hidden, inputs, outputs)
    code.end()


def is_packed(code: Code, given: dict[str, Any], n_zh: Int) -> ir.Value:
    """Write whether W_h shall be packed into panels for the forward pass, or used as it is.

    The backward pass multiplies with the transpose, which is always packed.
    """
    many = (given["time"] * given["batch"]).compare(">=", MANY_ROWS)
    return code.b.and_(many, (given["n_hidden"] * n_zh).compare(">", LARGE))


def write_backward_work(
    module: ir.Module,
    rows: StepRows,
    layout: Layout,
    dtype: str,
    masks_shared: Sequence[bool],
    *,
    from_outside: bool,
    truncate_every: int | None,
) -> None:
    """Write what one thread does: all steps, the last one first, for the rows from lo to hi."""
    code = Code(module, "work", work_arguments(), dtype, private=True)
    lo, hi, _, job = code.arguments
    given = layout.read(code, job)
    time, n_hidden = given["time"], given["n_hidden"]
    steps = Steps(code, rows, given, masks_shared)
    widths = [n_hidden * len(part) for part in rows.gates]
    d_z = [steps.all(name, width) for name, width in zip(["d_zx", "d_zh"], widths, strict=False)]
    saved, n = steps.all("saved", n_hidden * len(rows.saved)), len(rows.states)
    d_states = [steps.one(f"d_start{k}") for k in range(n)]
    totals = [steps.one(f"d_captured{k}") for k in range(len(rows.d_captured))]
    one = step_back(rows, from_outside=from_outside)
    with blocks(code, lo, hi) as (first, last), code.loop(time) as steps_done:
        t = time - 1 - steps_done
        before = steps.before(t)
        with code.loop(first, last) as row:
            inputs = steps.rows(t, row, before)
            inputs += [Rows(rows.saved, Array(code, saved.at(t, row, 0)))]
            if from_outside:
                inputs += [Rows([one.d_h], Array(code, steps.all("d_h").at(t, row, 0)))]
            carried = [Array(code, d.at(row, 0)) for d in (*d_states, *totals)]
            variables = [*rows.d_states, *one.totals]
            inputs += [Rows([v], d) for v, d in zip(variables, carried, strict=True)]
            outputs = [
                Rows(part, Array(code, d.at(t, row, 0)))
                for part, d in zip(one.d_gates, d_z, strict=True)
            ]
            new = zip([*one.d_old_states, *one.new_totals], carried, strict=True)
            outputs += [Rows([v], d) for v, d in new if v is not None]
            write_elementwise(code, n_hidden, inputs, outputs)
        d_h = d_states[0]
        through_h = d_h if one.d_old_states[0] is not None else None
        write_multiply(
            code, first, last, d_z[-1][t], given["panels"], d_h, widths[-1], n_hidden, through_h
        )
        if truncate_every is not None:
            at_cut = (t % truncate_every).compare("==", 0)
            with code.when(code.b.and_(at_cut, t.compare(">", 0))):
                for d in d_states:
                    with code.loop(first * n_hidden, last * n_hidden) as j:
                        code.store_number(ir.Constant(code.number, 0), Array(code, d.pointer).at(j))
    code.end()


class StepBack:
    """What one step of the backward pass computes elementwise."""

    def __init__(self, rows: StepRows, *, from_outside: bool) -> None:
        """`from_outside`: whether the gradient of h of all steps is given."""
        self.d_h = rows.d_states[0].type("d_h")
        self.totals = [d.type() for d in rows.d_captured]
        results = [
            *(v for part in rows.d_gates for v in part),
            *rows.d_old_states,
            *(total + d for total, d in zip(self.totals, rows.d_captured, strict=True)),
        ]
        if from_outside:
            meaning = {rows.d_states[0]: rows.d_states[0] + self.d_h}
            results = graph_replace(results, meaning, strict=False)
        left = iter(results)
        self.d_gates = [[next(left) for _ in part] for part in rows.d_gates]
        self.d_old_states: list[Any] = [next(left) for _ in rows.states]
        self.new_totals = list(left)
        if rows.states[0] not in ancestors(rows.new_states):
            self.d_old_states[0] = None  # only the product with W_h uses the old h


def step_back(rows: StepRows, *, from_outside: bool) -> StepBack:
    """Put together what one step of the backward pass computes elementwise."""
    return StepBack(rows, from_outside=from_outside)


class Steps:
    """The arrays of a loop: ``(time, batch, n)``, ``(batch, n)``, and the rows at one step."""

    def __init__(
        self, code: Code, rows: StepRows, given: dict[str, Any], masks_shared: Sequence[bool]
    ) -> None:
        self.code, self.given = code, given
        self.batch, self.n_hidden = given["batch"], given["n_hidden"]
        self._rows, self._masks_shared = rows, masks_shared

    def all(self, name: str, width: Int | None = None) -> Array:
        """Return an array of all steps."""
        return Array(self.code, self.given[name].pointer, self.batch, width or self.n_hidden)

    def one(self, name: str, width: Int | None = None) -> Array:
        """Return an array of one step."""
        return Array(self.code, self.given[name].pointer, width or self.n_hidden)

    def before(self, t: Int) -> list[Array]:
        """Return the states before step t, ``(batch, n_hidden)``."""
        is_first, at = t.compare("==", 0), (t - 1).at_least(0)
        return [
            Array(
                self.code,
                self.code.select(
                    is_first, self.given[f"start{k}"].pointer, self.all(f"state{k}").at(at, 0, 0)
                ),
                self.n_hidden,
            )
            for k in range(len(self._rows.states))
        ]

    def rows(self, t: Int, row: Int, before: Sequence[Array]) -> list[Rows]:
        """Return what a step has besides gates: old states, captured arrays, update masks."""
        rows, code = self._rows, self.code
        found = [
            Rows([v], Array(code, old.at(row, 0)))
            for v, old in zip(rows.states, before, strict=True)
        ]
        for k, v in enumerate(rows.captured):
            found.append(Rows([v], self._array(v, f"captured{k}", row)))
        for k, (v, shared) in enumerate(zip(rows.update_masks, self._masks_shared, strict=True)):
            width = code.as_int(1) if shared else self.n_hidden
            base = code.b.bitcast(self.given[f"mask{k}"].pointer, I8.as_pointer())
            place = Array(code, base, self.batch, width).at(t, row, 0)
            found.append(Rows([v], Array(code, place), shared))
        return found

    def _array(self, v: Variable, name: str, row: Int) -> Array:
        pointer = self.given[name].pointer
        if v.type.dtype == "bool":
            pointer = self.code.b.bitcast(pointer, I8.as_pointer())
        return Array(self.code, Array(self.code, pointer, self.n_hidden).at(row, 0))


def write_kernel(
    module: ir.Module, rows: StepRows, layout: Layout, dtype: str, *, backward: bool = False
) -> None:
    """Write the kernel itself: pack W_h, share the rows of the batch among threads."""
    code = Code(module, "kernel", [JOB], dtype)
    (job,) = code.arguments
    given = layout.read(code, job)
    n_threads, time, batch, n_hidden = (given[name] for name in SIZES)
    n_zh = n_hidden * len(rows.gates[-1])
    for name in ("panels", "scratch"):
        code.align(job, layout.job.index(name))
    given = layout.read(code, job)
    one, W_h, panels = code.as_int(1), given["W_h"].pointer, given["panels"].pointer
    pack = f"symrnn_pack_{dtype}"
    if backward:
        code.call(pack, n_zh, n_hidden, W_h, one, n_zh, panels)
    else:
        width = panel_width(dtype)
        # without panels, only those columns are packed that do not fill one
        first = code.select(is_packed(code, given, n_zh), code.as_int(0), n_zh // width * width)
        place = Array(code, panels, n_hidden).at(first)
        code.call(pack, n_hidden, n_zh - first, Array(code, W_h).at(first), n_zh, one, place)
    flops = time * batch * n_hidden * (n_zh + 20) * 2
    code.call("symrnn_in_threads", module.globals["work"], batch, n_threads, flops, job)
    if backward:
        d_zh = given["d_zx" if len(rows.gates) == 1 else "d_zh"]
        write_add_product(code, given, given["start0"], d_zh, batch, n_zh, first=True)
        with code.when(time.compare(">", 1)):
            later = Array(code, d_zh.at(batch * n_zh))
            depth = (time - 1) * batch
            write_add_product(code, given, given["state0"], later, depth, n_zh, first=False)
    code.end()


def write_add_product(
    code: Code, given: dict[str, Any], h: Array, d_zh: Array, depth: Int, n_zh: Int, *, first: bool
) -> None:
    """Write ``d_W_h += h.T @ d_zh``, of which the first is ``d_W_h = h.T @ d_zh``."""
    n_hidden = given["n_hidden"]
    addresses = {
        name: Int(code, code.b.ptrtoint(array.pointer, I64))
        for name, array in {
            **{"a": h, "b": d_zh, "out": given["d_W_h"], "scratch": given["scratch"]}
        }.items()
    }
    job = {
        **{"n_threads": given["n_threads"], "batch": 1, "rows": n_hidden, "columns": n_zh},
        **{"depth": depth, "a_batch": 0, "a_row": 1, "a_k": n_hidden},
        **{"b_batch": 0, "b_k": n_zh, "b_column": 1},
        **{"add": 0 if first else addresses["out"], "add_row": n_zh, **addresses},
    }
    code.call(f"symrnn_product_{code.dtype}", code.job([job[name] for name in PRODUCT_JOB]))


@contextmanager
def blocks(code: Code, lo: Int, hi: Int) -> Iterator[tuple[Int, Int]]:
    """Write a loop over blocks of the rows from lo to hi, of about one size."""
    n = (hi - lo).ceil_div(ROWS_AT_A_TIME).at_least(1)
    size = (hi - lo).ceil_div(n).at_least(1)
    with code.loop_by(lo, hi, size) as first:
        yield first, (first + size).at_most(hi)
