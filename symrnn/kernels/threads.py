"""Shares a kernel's work among threads, which live as long as the call: none waits for more work.

A pool whose threads wait actively, as those of OpenBLAS do, would take the processors from other
pools. To start a thread takes some 20 microseconds, so small work is done by one.
"""

from functools import cache

from llvmlite import ir

from symrnn.kernels.machine import declare_c_function, load, n_threads
from symrnn.kernels.writing import I8, I32, I64, JOB, VOID, Code

ENOUGH = 4_000_000
"""Multiplications and additions for which a second thread pays."""
MOST_THREADS = 64
_PTR = I8.as_pointer()


def work_arguments() -> list[ir.Type]:
    """Of a function that does part of a kernel's work: from lo to hi, which part, and the job."""
    return [I64, I64, I64, JOB]


@cache
def load_threads() -> None:
    """Compile ``symrnn_in_threads(work, n, threads, flops, job)`` for other kernels to call.

    It calls ``work(lo, hi, part, job)`` for parts of the range from 0 to n.
    """
    module = ir.Module("threads")
    work_kind = ir.FunctionType(VOID, work_arguments()).as_pointer()
    part_kind = ir.LiteralStructType([I64, I64, I64, JOB, work_kind])
    worker = _write_worker(module, part_kind)
    code = Code(module, "symrnn_in_threads", [work_kind, I64, I64, I64, JOB])
    work, n, threads, flops, job = code.arguments
    if n_threads() == 1:  # or the machine has no pthread_create
        code.call_pointer(work, code.as_int(0), n, code.as_int(0), job)
        code.end()
        load(str(module), ("symrnn_in_threads",))
        return
    enough = (flops // ENOUGH + 1).at_most(MOST_THREADS)
    parts = threads.at_most(enough).at_most(n).at_least(1)
    declare_c_function("pthread_create")
    declare_c_function("pthread_join")
    given = code.b.alloca(part_kind, MOST_THREADS)
    ids = code.b.alloca(I64, MOST_THREADS)
    failed = code.b.alloca(I32, MOST_THREADS)
    null = ir.Constant(_PTR, None)
    with code.loop(parts) as k:
        place = code.b.gep(given, [k.value])
        values = [n * k // parts, n * (k + 1) // parts, k]
        for m, v in enumerate([*(v.value for v in values), job, work]):
            code.b.store(v, code.b.gep(place, [ir.Constant(I32, 0), ir.Constant(I32, m)]))
        as_pointer = code.b.bitcast(place, _PTR)
        with code.b.if_else(k.compare("==", parts - 1)) as (here, there):
            with here:
                code.call_pointer(worker, as_pointer)
            with there:
                status = code.call(
                    "pthread_create",
                    *(code.b.bitcast(code.b.gep(ids, [k.value]), _PTR), null, worker, as_pointer),
                    result=I32,
                )
                code.b.store(status, code.b.gep(failed, [k.value]))
    with code.loop(parts - 1) as k:
        status = code.b.load(code.b.gep(failed, [k.value]))
        with code.b.if_else(code.b.icmp_signed("==", status, ir.Constant(I32, 0))) as (yes, no):
            with yes:
                code.call("pthread_join", code.b.load(code.b.gep(ids, [k.value])), null, result=I32)
            with no:  # the system gave no thread
                code.call_pointer(worker, code.b.bitcast(code.b.gep(given, [k.value]), _PTR))
    code.end()
    load(str(module), ("symrnn_in_threads",))


def _write_worker(module: ir.Module, part_kind: ir.Type) -> ir.Function:
    """Write what a thread runs: the work, for its part."""
    function = ir.Function(module, ir.FunctionType(_PTR, [_PTR]), "symrnn_worker")
    function.linkage = "private"
    b = ir.IRBuilder(function.append_basic_block("entry"))
    part = b.load(b.bitcast(function.args[0], part_kind.as_pointer()))
    lo, hi, index, job, work = (b.extract_value(part, k) for k in range(5))
    b.call(work, [lo, hi, index, job])
    b.ret(ir.Constant(_PTR, None))
    return function
