"""Products of matrices in kernels: numbers lie in cache in the order in which they are used.

``out = a @ b`` is computed tile by tile. A tile has a few rows of `out` and as many columns as two
vectors have numbers, so that all of it fits into the processor's registers. For the panel of b
with these columns, and each k, every row's ``a[row, k]`` is multiplied by the panel's row k, two
vectors. The panels are copied beforehand, each to where it is contiguous (`pack`): then the
processor reads memory in order and at full speed.

Each number of `out` is summed up in the order of k, by one thread, so results do not depend on how
many threads share the work.
"""

from collections.abc import Callable
from functools import cache, partial

import numpy as np
from llvmlite import ir

from symrnn.kernels.machine import N_REGISTERS, VECTOR_BYTES, function_at, load
from symrnn.kernels.threads import load_threads, work_arguments
from symrnn.kernels.writing import I64, JOB, Array, Code, Int

VECTORS = 2
"""Vectors in a row of a tile."""
MOST_ROWS = 12 if N_REGISTERS == 32 else 6
"""Rows of a tile: as many as have their sums in registers, with room for a panel's row."""
DEPTH_BLOCK, COLUMNS_BLOCK = 512, 256
"""How much of b is packed at a time: it stays in the second level of cache."""
PRODUCT_JOB = (
    *("n_threads", "batch", "rows", "columns", "depth"),
    *("a", "a_batch", "a_row", "a_k"),
    *("b", "b_batch", "b_k", "b_column"),
    *("add", "add_row", "out", "scratch"),
)
"""What the kernel `product` is given: sizes, and for each array its address and its strides."""


def panel_width(dtype: str) -> int:
    """Columns of a panel."""
    return VECTORS * VECTOR_BYTES // np.dtype(dtype).itemsize


def scratch_size(dtype: str, threads: int) -> int:
    """How many numbers `product` needs to pack panels into."""
    return threads * DEPTH_BLOCK * (COLUMNS_BLOCK + panel_width(dtype))


def product_symbol(dtype: str) -> str:
    """Name of the kernel, by which other compiled code may call it."""
    return f"symrnn_product_{dtype}"


@cache
def load_product(dtype: str) -> int:
    """Compile `tile`, `pack` and `product` for a dtype; return the address of the last."""
    load_threads()
    names = (f"symrnn_tile_{dtype}", f"symrnn_pack_{dtype}", product_symbol(dtype))
    return load(partial(_product_text, dtype), names)[names[-1]]


def _product_text(dtype: str) -> str:
    module = ir.Module("product")
    write_tile(module, dtype)
    write_pack(module, dtype)
    write_product_work(module, dtype)
    write_product(module, dtype)
    return str(module)


@cache
def call_product(dtype: str) -> Callable[[int], None]:
    """Return a function that calls the kernel; its argument is the address of a job."""
    return function_at(load_product(dtype))


def write_tile(module: ir.Module, dtype: str) -> None:
    """Write ``out[:rows, :columns] = a[:rows] @ panel + add[:rows, :columns]``.

    The panel's rows follow each other by `panel_k` numbers; after packing, by the panel's width.
    There are up to `MOST_ROWS` rows, and as many columns as a panel has, or fewer. `add` may be
    null, which is nothing, or `out` itself.
    """
    number = ir.FloatType() if dtype == "float32" else ir.DoubleType()
    p = number.as_pointer()
    kinds = [I64, I64, I64, p, I64, I64, p, I64, p, I64, p, I64]
    code = Code(module, f"symrnn_tile_{dtype}", kinds, dtype)
    rows, columns, depth, a, a_row, a_k, panel, panel_k, add, add_row, out, out_row = code.arguments
    width = panel_width(dtype)
    a, panel = Array(code, a), Array(code, panel)
    nothing = code.b.icmp_unsigned("==", add, ir.Constant(p, None))
    add = Array(code, code.b.select(nothing, out, add))
    out = Array(code, out)
    there = [code.first(columns - v * code.W) for v in range(VECTORS)]
    added = [code.b.select(nothing, ir.Constant(m.type, None), m) for m in there]

    end = code.function.append_basic_block("end")
    choice = code.b.switch(rows.value, end)
    for n_rows in range(1, MOST_ROWS + 1):
        choice.add_case(ir.Constant(I64, n_rows), code.function.append_basic_block())
        code.b.position_at_end(choice.cases[-1][1])
        tile = [(r, v) for r in range(n_rows) for v in range(VECTORS)]
        sums = {place: code.variable(code.splat(0.0)) for place in tile}
        with code.loop(depth) as k:
            panel_row = [code.load(panel.at(k * panel_k + v * code.W)) for v in range(VECTORS)]
            for r in range(n_rows):
                a_rk = code.splat(code.load_number(a.at(a_row * r + a_k * k)))
                for v in range(VECTORS):
                    product = code.intrinsic("fmuladd", a_rk, panel_row[v], code.value(sums[r, v]))
                    code.assign(sums[r, v], product)
        for r, v in tile:
            before = code.load(add.at(add_row * r + v * code.W), added[v])
            code.assign(sums[r, v], code.b.fadd(code.value(sums[r, v]), before))
        with code.b.if_else(columns.compare("<", width)) as (narrow, whole):
            with narrow:
                for r, v in tile:
                    code.store(code.value(sums[r, v]), out.at(out_row * r + v * code.W), there[v])
            with whole:
                for r, v in tile:
                    code.store(code.value(sums[r, v]), out.at(out_row * r + v * code.W))
        code.b.branch(end)
    code.b.position_at_end(end)
    code.end()


def write_pack(module: ir.Module, dtype: str) -> None:
    """Write ``panels[p, k, j] = b[k, p * width + j]``, and 0 where b has no such column.

    Its arguments are the sizes of b, b with the strides of both axes, and the panels.
    """
    number = ir.FloatType() if dtype == "float32" else ir.DoubleType()
    kinds = [I64, I64, number.as_pointer(), I64, I64, number.as_pointer()]
    code = Code(module, f"symrnn_pack_{dtype}", kinds, dtype)
    depth, columns, b, b_k, b_column, panels = code.arguments
    width = panel_width(dtype)
    b, panels = Array(code, b), Array(code, panels, depth, width)
    in_order = b_column.compare("==", 1)
    with code.loop(columns.ceil_div(width)) as p:
        here = (columns - p * width).at_most(width)
        masks = [code.first(here - v * code.W) for v in range(VECTORS)]
        start = Array(code, b.at(p * width * b_column))
        with code.b.if_else(in_order) as (row_by_row, column_by_column):
            with row_by_row, code.loop(depth) as k:
                for v, mask in enumerate(masks):
                    code.store(
                        code.load(start.at(k * b_k + v * code.W), mask), panels.at(p, k, v * code.W)
                    )
            with column_by_column:
                with code.when(here.compare("<", width)), code.loop(depth) as k:
                    for v in range(VECTORS):
                        code.store(code.splat(0.0), panels.at(p, k, v * code.W))
                block = 16  # as many numbers of one column are neighbours in cache
                with (
                    code.loop(0, depth, block) as k_0,
                    code.loop(here) as j,
                    code.loop(k_0, (k_0 + block).at_most(depth)) as k,
                ):
                    value = code.load_number(start.at(j * b_column + k * b_k))
                    code.store_number(value, panels.at(p, k, j))
    code.end()


def write_multiply(
    code: Code,
    lo: Int,
    hi: Int,
    a: Array,
    panels: Array,
    out: Array,
    depth: Int,
    columns: Int,
    add: Array | None = None,
    b: Array | None = None,
    packed: ir.Value | None = None,
) -> None:
    """Write ``out[lo:hi] = a[lo:hi] @ b + add[lo:hi]``, where b has been packed into `panels`.

    If b is given too, and `packed` does not hold, only those columns have been packed that do not
    fill a panel; the others are read from b itself.
    """
    width = panel_width(str(code.dtype))
    panels = Array(code, panels.pointer, depth, width)
    null = ir.Constant(out.pointer.type, None)
    size = tile_rows(hi - lo)
    with code.loop(columns.ceil_div(width)) as p, code.loop_by(lo, hi, size) as row:
        panel, panel_k = panels.at(p, 0, 0), code.as_int(width)
        if b is not None:
            as_it_is = code.b.and_(code.b.not_(packed), p.compare("<", columns // width))
            panel = code.select(as_it_is, Array(code, b.pointer).at(p * width), panel)
            panel_k = code.select(as_it_is, columns, panel_k)
        code.call(
            f"symrnn_tile_{code.dtype}",
            *(size.at_most(hi - row), (columns - p * width).at_most(width), depth),
            *(a.at(row, 0), depth, code.as_int(1), panel, panel_k),
            *(null if add is None else add.at(row, p * width), columns),
            *(out.at(row, p * width), columns),
        )


def tile_rows(rows: Int) -> Int:
    """How many rows each tile shall have, so that all have about as many."""
    return rows.ceil_div(rows.ceil_div(MOST_ROWS).at_least(1)).at_least(1)


def write_product_work(module: ir.Module, dtype: str) -> None:
    """Write what one thread does of a product: some of the batch, of the columns or of the rows."""
    code = Code(module, f"symrnn_product_work_{dtype}", work_arguments(), dtype, private=True)
    lo, hi, part, job = code.arguments
    g = {name: code.given(job, k) for k, name in enumerate(PRODUCT_JOB)}
    width, zero = panel_width(dtype), code.as_int(0)
    a, b, out, add = (Array(code, code.pointer(g[name])) for name in ("a", "b", "out", "add"))
    scratch = code.pointer(g["scratch"])
    panels = Array(code, Array(code, scratch).at(part * scratch_size(dtype, 1)))
    no_add = g["add"].compare("==", 0)
    null = ir.Constant(scratch.type, None)

    by_batch = g["batch"].compare(">", 1)
    by_rows = code.b.and_(code.b.not_(by_batch), g["rows"].compare(">=", g["columns"]))
    by_columns = code.b.not_(code.b.or_(by_batch, by_rows))
    from_n, to_n = code.select(by_batch, lo, zero), code.select(by_batch, hi, g["batch"])
    from_row, to_row = code.select(by_rows, lo, zero), code.select(by_rows, hi, g["rows"])
    from_column = code.select(by_columns, lo * width, zero)
    to_column = code.select(by_columns, (hi * width).at_most(g["columns"]), g["columns"])
    size = tile_rows(to_row - from_row)

    with code.loop(from_n, to_n) as n:
        a_n = Array(code, a.at(n * g["a_batch"]))
        b_n = Array(code, b.at(n * g["b_batch"]))
        out_n = Array(code, out.at(n * g["rows"] * g["columns"]))
        with (
            code.loop(from_column, to_column, COLUMNS_BLOCK) as column,
            code.loop(0, g["depth"], DEPTH_BLOCK) as k,
        ):
            depth = (g["depth"] - k).at_most(DEPTH_BLOCK)
            columns = (to_column - column).at_most(COLUMNS_BLOCK)
            code.call(
                f"symrnn_pack_{dtype}",
                *(depth, columns, b_n.at(k * g["b_k"] + column * g["b_column"])),
                *(g["b_k"], g["b_column"], panels.pointer),
            )
            with (
                code.loop_by(from_row, to_row, size) as row,
                code.loop(columns.ceil_div(width)) as p,
            ):
                out_tile = out_n.at(row * g["columns"] + column + p * width)
                first_add = code.select(
                    no_add, null, add.at(row * g["add_row"] + column + p * width)
                )
                is_first = k.compare("==", 0)
                code.call(
                    f"symrnn_tile_{dtype}",
                    *(size.at_most(to_row - row), (columns - p * width).at_most(width), depth),
                    *(a_n.at(row * g["a_row"] + k * g["a_k"]), g["a_row"], g["a_k"]),
                    *(panels.at(p * depth * width), code.as_int(width)),
                    code.select(is_first, first_add, out_tile),
                    code.select(is_first, g["add_row"], g["columns"]),
                    *(out_tile, g["columns"]),
                )
    code.end()


def write_product(module: ir.Module, dtype: str) -> None:
    """Write the kernel ``out[n] = a[n] @ b[n] + add``; see `PRODUCT_JOB`."""
    code = Code(module, f"symrnn_product_{dtype}", [JOB], dtype)
    (job,) = code.arguments
    code.align(job, PRODUCT_JOB.index("scratch"))
    g = {name: code.given(job, k) for k, name in enumerate(PRODUCT_JOB)}
    by_batch = g["batch"].compare(">", 1)
    by_rows = g["rows"].compare(">=", g["columns"])
    panels = g["columns"].ceil_div(panel_width(dtype))
    n = code.select(by_batch, g["batch"], code.select(by_rows, g["rows"], panels))
    flops = g["batch"] * g["rows"] * g["columns"] * g["depth"] * 2
    work = module.globals[f"symrnn_product_work_{dtype}"]
    code.call("symrnn_in_threads", work, n, g["n_threads"], flops, job)
    code.end()
