"""Shares a kernel's work among threads: those of a pool, which waits actively for a short time.

A thread that has finished its part looks for more work for a millisecond or two, since in a
training step one kernel follows the other, and to wake a thread up takes as long as a small
product. Then it goes to sleep. So there should be no other pool that waits actively, as that of a
BLAS does, at the same time: each takes the processors from the other (see
`symrnn.kernels.products`).

The pool is shared by all kernels. Its state is in the variables of `VARIABLES`:

- ``order`` is a number that changes when there is work: 256 times the count of all orders so far,
  plus the number of threads that take part;
- ``pending`` is how many of them have not finished.
"""

import os
from functools import cache

import llvmlite.binding as llvm
from llvmlite import ir

from symrnn.kernels.machine import declare_c_function, function_at, load, n_threads
from symrnn.kernels.writing import I8, I32, I64, JOB, VOID, Code, Int

ENOUGH = 10_000_000
"""Multiplications and additions for which a second thread pays."""
MOST_THREADS = 64
PATIENCE = 60_000
"""How often a thread looks for more work before it goes to sleep: some two milliseconds."""
VARIABLES = ("order", "pending", "started", "busy", "asleep", "work", "n", "job")
_PTR = I8.as_pointer()
_WORK = ir.FunctionType(VOID, [I64, I64, I64, JOB])


def work_arguments() -> list[ir.Type]:
    """Of a function that does part of a kernel's work: from lo to hi, which part, and the job."""
    return [I64, I64, I64, JOB]


@cache
def load_threads() -> None:
    """Compile ``symrnn_in_threads(work, n, threads, flops, job)`` for other kernels to call.

    It calls ``work(lo, hi, part, job)`` for parts of the range from 0 to n.
    """
    module = ir.Module("threads")
    code = Code(module, "symrnn_in_threads", [_WORK.as_pointer(), I64, I64, I64, JOB])
    work, n, threads, flops, job = code.arguments
    if n_threads() == 1:  # or the machine has no pthread_create
        code.call_pointer(work, code.as_int(0), n, code.as_int(0), job)
        code.end()
        load(str(module), ("symrnn_in_threads",))
        return
    pool = Pool(module)
    enough = (flops // ENOUGH + 1).at_most(MOST_THREADS)
    parts = threads.at_most(enough).at_most(n).at_least(1)
    alone = code.function.append_basic_block("alone")
    several = code.function.append_basic_block("several")
    code.b.cbranch(parts.compare("==", 1), alone, several)

    code.b.position_at_end(alone)
    code.call_pointer(work, code.as_int(0), n, code.as_int(0), job)
    code.end()

    code.b.position_at_end(several)
    shared = code.function.append_basic_block("shared")
    # another thread of Python may be using the pool: then this one works alone
    is_ours = code.b.extract_value(
        code.b.cmpxchg(pool.place("busy"), _number(0), _number(1), "acquire", "monotonic"), 1
    )
    code.b.cbranch(is_ours, shared, alone)

    code.b.position_at_end(shared)
    pool.start(code, parts - 1)
    parts = parts.at_most(pool.get(code, "started") + 1)
    address = Int(code, code.b.ptrtoint(work, I64))
    for name, value in {"work": address, "n": n, "pending": parts - 1}.items():
        pool.set(code, name, value)
    pool.set(code, "job", Int(code, code.b.ptrtoint(job, I64)))
    code.call("pthread_mutex_lock", pool.mutex(code), result=I32)
    count = pool.get(code, "order") // 256 + 1
    pool.set(code, "order", count * 256 + parts)
    code.call("pthread_mutex_unlock", pool.mutex(code), result=I32)
    with code.when(pool.get(code, "asleep").compare(">", 0)):
        code.call("pthread_cond_broadcast", pool.condition(code), result=I32)
    code.call_pointer(work, code.as_int(0), n // parts, code.as_int(0), job)
    with code.repeat_while(lambda: pool.get(code, "pending").compare(">", 0)) as k:
        pool.rest(code)
        with code.when((k % 4096).compare("==", 4095)):  # more threads than processors
            code.call("sched_yield", result=I32)
    pool.set(code, "busy", code.as_int(0))
    code.end()
    pool.write_reset()
    names = ("symrnn_in_threads", "symrnn_reset_threads")
    reset = function_at(load(str(module), names)[names[1]])
    reset(0)
    os.register_at_fork(after_in_child=lambda: reset(0))  # a copy of the process has no threads


class Pool:
    """The variables of the pool, and the functions that its threads run."""

    def __init__(self, module: ir.Module) -> None:
        self.module = module
        for name in ("create", "mutex_init", "mutex_lock", "mutex_unlock"):
            declare_c_function(f"pthread_{name}")
        for name in ("pthread_cond_init", "pthread_cond_wait", "pthread_cond_broadcast"):
            declare_c_function(name)
        declare_c_function("sched_yield")
        cache_line = ir.ArrayType(I64, 16)  # so that no two variables are in one
        self._variables = {name: self._variable(name, cache_line) for name in VARIABLES}
        opaque = ir.ArrayType(I64, 32)  # longer than these are in any C library
        self._mutex, self._condition = (self._variable(n, opaque) for n in ("mutex", "condition"))
        self._worker = self._write_worker()

    def _variable(self, name: str, kind: ir.Type) -> ir.GlobalVariable:
        variable = ir.GlobalVariable(self.module, kind, f"symrnn_{name}")
        variable.initializer = ir.Constant(kind, None)
        variable.linkage, variable.align = "internal", 128
        return variable

    def place(self, name: str) -> ir.Value:
        """Where a variable is."""
        return self._variables[name].bitcast(I64.as_pointer())

    def mutex(self, code: Code) -> ir.Value:
        """Pointer to the lock that guards going to sleep."""
        return code.b.bitcast(self._mutex, _PTR)

    def condition(self, code: Code) -> ir.Value:
        """Pointer to what sleeping threads wait for."""
        return code.b.bitcast(self._condition, _PTR)

    def get(self, code: Code, name: str) -> Int:
        """The value of a variable, which another thread may have changed."""
        return Int(code, code.b.load_atomic(self.place(name), "acquire", 8))

    def set(self, code: Code, name: str, value: Int) -> None:
        """Change a variable; who sees it also sees what was changed before."""
        code.b.store_atomic(value.value, self.place(name), "release", 8)

    def change(self, code: Code, name: str, by: int) -> None:
        """Add to a variable."""
        code.b.atomic_rmw("add", self.place(name), _number(by), "acq_rel")

    def rest(self, code: Code) -> None:
        """Wait for some instructions, as the processor advises while one waits actively."""
        if "x86" in _triple():
            code.call("llvm.x86.sse2.pause")

    def start(self, code: Code, n: Int) -> None:
        """Write what starts threads until there are n, or as many as the system gives."""
        with code.loop(n), code.when(self.get(code, "started").compare("<", n)):
            index = self.get(code, "started")
            thread = code.local(I64)
            given = code.b.inttoptr(index.value, _PTR)
            status = code.call(
                "pthread_create",
                *(code.b.bitcast(thread, _PTR), ir.Constant(_PTR, None), self._worker, given),
                result=I32,
            )
            is_there = code.b.icmp_signed("==", status, ir.Constant(I32, 0))
            self.set(code, "started", code.select(is_there, index + 1, index))

    def _write_worker(self) -> ir.Function:
        """Write what a thread of the pool does all its life."""
        code = Code(self.module, "symrnn_worker", [_PTR], result=_PTR, private=True)
        index = Int(code, code.b.ptrtoint(code.arguments[0], I64))
        seen = code.local(I64)
        code.b.store(_number(0), seen)

        def nothing_new() -> ir.Value:
            return self.get(code, "order").compare("==", Int(code, code.b.load(seen)))

        with code.repeat_while(lambda: ir.Constant(ir.IntType(1), 1)):
            patience = code.local(I64)
            code.b.store(_number(PATIENCE), patience)

            def waiting() -> ir.Value:
                left = Int(code, code.b.load(patience)).compare(">", 0)
                return code.b.and_(left, nothing_new())

            with code.repeat_while(waiting):
                self.rest(code)
                left = Int(code, code.b.load(patience)) - 1
                code.b.store(left.value, patience)
            with code.when(nothing_new()):
                code.call("pthread_mutex_lock", self.mutex(code), result=I32)
                self.change(code, "asleep", 1)
                with code.repeat_while(nothing_new):
                    waited = (self.condition(code), self.mutex(code))
                    code.call("pthread_cond_wait", *waited, result=I32)
                self.change(code, "asleep", -1)
                code.call("pthread_mutex_unlock", self.mutex(code), result=I32)
            order = self.get(code, "order")
            code.b.store(order.value, seen)
            parts, part = order % 256, index + 1
            with code.when(part.compare("<", parts)):
                n = self.get(code, "n")
                work = code.b.inttoptr(self.get(code, "work").value, _WORK.as_pointer())
                job = code.b.inttoptr(self.get(code, "job").value, JOB)
                lo, hi = n * part // parts, n * (part + 1) // parts
                code.call_pointer(work, lo, hi, part, job)
                self.change(code, "pending", -1)
        code.b.ret(ir.Constant(_PTR, None))
        return code.function

    def write_reset(self) -> None:
        """Write the function that makes an empty pool."""
        code = Code(self.module, "symrnn_reset_threads", [JOB])
        for name in VARIABLES:
            self.set(code, name, code.as_int(0))
        null = ir.Constant(_PTR, None)
        code.call("pthread_mutex_init", self.mutex(code), null, result=I32)
        code.call("pthread_cond_init", self.condition(code), null, result=I32)
        code.end()


def _number(value: int) -> ir.Constant:
    return ir.Constant(I64, value)


def _triple() -> str:
    return str(llvm.get_process_triple())
