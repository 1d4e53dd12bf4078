"""Writes functions in LLVM's language: whole numbers, arrays in memory, loops, vectors.

What stands here in Python runs while a kernel is written; what it writes runs when the kernel is
called. An `Int` is a number that only the kernel knows: ``a + b`` writes the instruction that adds.
With ::

    with code.loop(n) as k:
        code.store(code.load(x.at(k)), y.at(k))

one writes a loop that copies n numbers.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from llvmlite import ir

from symrnn.kernels.machine import VECTOR_BYTES

I1, I8, I32, I64, VOID = (*(ir.IntType(n) for n in (1, 8, 32, 64)), ir.VoidType())
JOB = I64.as_pointer()
"""The argument of a kernel: whole numbers, sizes first and then addresses of arrays."""


class Int:
    """A whole number of the kernel, with the operators of Python."""

    def __init__(self, code: "Code", value: Any) -> None:
        self.code = code
        self.value = ir.Constant(I64, value) if isinstance(value, int) else value

    def _with(self, operation: str, other: Any) -> "Int":
        instruction = getattr(self.code.b, operation)
        return Int(self.code, instruction(self.value, self.code.as_int(other).value))

    def __add__(self, other: Any) -> "Int":
        return self._with("add", other)

    def __sub__(self, other: Any) -> "Int":
        return self._with("sub", other)

    def __mul__(self, other: Any) -> "Int":
        return self._with("mul", other)

    def __floordiv__(self, other: Any) -> "Int":
        return self._with("sdiv", other)

    def __mod__(self, other: Any) -> "Int":
        return self._with("srem", other)

    def ceil_div(self, other: Any) -> "Int":
        """Return the quotient, rounded up."""
        divisor = self.code.as_int(other)
        return (self + divisor - 1) // divisor

    def compare(self, sign: str, other: Any) -> ir.Value:
        """Return whether the comparison holds, for `Code.when` and `Code.select`."""
        return self.code.b.icmp_signed(sign, self.value, self.code.as_int(other).value)

    def at_most(self, other: Any) -> "Int":
        """Return the smaller one of two."""
        smaller: Int = self.code.select(self.compare("<", other), self, other)
        return smaller

    def at_least(self, other: Any) -> "Int":
        """Return the larger one of two."""
        larger: Int = self.code.select(self.compare(">", other), self, other)
        return larger


class Array:
    """Numbers in memory, one row after the other.

    Parameters
    ----------
    pointer
        Where the first one is.
    sizes
        The lengths of all axes but the first.
    """

    def __init__(self, code: "Code", pointer: ir.Value, *sizes: Any) -> None:
        self.code, self.pointer, self.sizes = code, pointer, sizes

    def at(self, *index: Any) -> ir.Value:
        """Return a pointer to an element, or to the first one of a row: ``at(t, row)``."""
        place = self.code.as_int(index[0])
        for k, size in enumerate(self.sizes):
            place = place * size
            if k + 1 < len(index):
                place = place + index[k + 1]
        return self.code.b.gep(self.pointer, [place.value])

    def __getitem__(self, index: Any) -> "Array":
        return Array(self.code, self.at(index), *self.sizes[1:])


class Code:
    """Writes one function. Its numbers are of one dtype.

    Parameters
    ----------
    module
        Where the function goes.
    name, arguments, result
        Name and types.
    dtype
        ``"float32"`` or ``"float64"``.

    Attributes
    ----------
    arguments
        An `Int` for each whole number, else LLVM's value.
    number, vector, W
        LLVM's types of a number and a vector, and how many numbers a vector has.
    """

    def __init__(
        self,
        module: ir.Module,
        name: str,
        arguments: Sequence[ir.Type],
        dtype: str = "float32",
        *,
        result: ir.Type = VOID,
        private: bool = False,
    ) -> None:
        self.dtype = np.dtype(dtype)
        self.number = ir.FloatType() if dtype == "float32" else ir.DoubleType()
        self.W = VECTOR_BYTES // self.dtype.itemsize
        self.vector = ir.VectorType(self.number, self.W)
        self.module = module
        self.function = ir.Function(module, ir.FunctionType(result, list(arguments)), name)
        if private:
            self.function.linkage = "private"
        self.b = ir.IRBuilder(self.function.append_basic_block("entry"))
        self.arguments = [Int(self, a) if a.type == I64 else a for a in self.function.args]

    def as_int(self, value: Any) -> Int:
        """Return a number of the kernel."""
        return value if isinstance(value, Int) else Int(self, value)

    def end(self) -> None:
        """End the function."""
        self.b.ret_void()

    @contextmanager
    def loop(self, start: Any, stop: Any = None, step: int = 1) -> Iterator[Int]:
        """Write a loop around what the block writes: ``range(start, stop, step)``."""
        if stop is None:
            start, stop = 0, start
        start, stop = self.as_int(start), self.as_int(stop)
        before = self.b.block
        head, body, after = (self.function.append_basic_block() for _ in range(3))
        self.b.branch(head)
        self.b.position_at_end(head)
        k = self.b.phi(I64)
        k.add_incoming(start.value, before)
        self.b.cbranch(self.b.icmp_signed("<" if step > 0 else ">", k, stop.value), body, after)
        self.b.position_at_end(body)
        yield Int(self, k)
        k.add_incoming(self.b.add(k, ir.Constant(I64, step)), self.b.block)
        self.b.branch(head)
        self.b.position_at_end(after)

    @contextmanager
    def loop_by(self, start: Any, stop: Any, step: Int) -> Iterator[Int]:
        """Write a loop whose step is only known to the kernel."""
        start, stop = self.as_int(start), self.as_int(stop)
        with self.loop((stop - start).ceil_div(step)) as k:
            yield start + k * step

    @contextmanager
    def repeat_while(self, holds: Callable[[], ir.Value]) -> Iterator[Int]:
        """Write a loop that goes on while a condition holds, which `holds` writes."""
        before = self.b.block
        head, body, after = (self.function.append_basic_block() for _ in range(3))
        self.b.branch(head)
        self.b.position_at_end(head)
        k = self.b.phi(I64)
        k.add_incoming(ir.Constant(I64, 0), before)
        self.b.cbranch(holds(), body, after)
        self.b.position_at_end(body)
        yield Int(self, k)
        k.add_incoming(self.b.add(k, ir.Constant(I64, 1)), self.b.block)
        self.b.branch(head)
        self.b.position_at_end(after)

    def local(self, kind: ir.Type) -> ir.Value:
        """Return memory for a value that lives as long as the function is running."""
        with self.b.goto_entry_block():
            return self.b.alloca(kind)

    @contextmanager
    def when(self, condition: ir.Value) -> Iterator[None]:
        """What the block writes is done if the condition holds."""
        with self.b.if_then(condition):
            yield

    def select(self, condition: ir.Value, a: Any, b: Any) -> Any:
        """Return a if the condition holds, else b: numbers, arrays or pointers."""
        if isinstance(a, Int):
            return Int(self, self.b.select(condition, a.value, self.as_int(b).value))
        return self.b.select(condition, a, b)

    def call(self, name: str, *arguments: Any, result: ir.Type = VOID) -> Any:
        """Call a function of this module, of another kernel, or of the C library."""
        values = [a.value if isinstance(a, Int) else a for a in arguments]
        function = self.module.globals.get(name)
        if function is None:
            kind = ir.FunctionType(result, [v.type for v in values])
            function = ir.Function(self.module, kind, name)
        return self.b.call(function, values)

    def call_pointer(self, function: ir.Value, *arguments: Any) -> Any:
        """Call a function by its address."""
        return self.b.call(function, [a.value if isinstance(a, Int) else a for a in arguments])

    def variable(self, value: ir.Value) -> ir.Value:
        """Return a variable, which lives in a register: see `value` and `assign`."""
        place = self.local(value.type)
        self.b.store(value, place)
        return place

    def value(self, variable: ir.Value) -> ir.Value:
        """Return what a variable holds."""
        return self.b.load(variable)

    def assign(self, variable: ir.Value, value: ir.Value) -> None:
        """Change what a variable holds."""
        self.b.store(value, variable)

    def given(self, job: ir.Value, k: int) -> Int:
        """Return the k-th number of a job."""
        return Int(self, self.b.load(self.b.gep(job, [ir.Constant(I64, k)])))

    def align(self, job: ir.Value, k: int) -> None:
        """Move an address of a job to the next one where a vector begins."""
        aligned = self.given(job, k).ceil_div(VECTOR_BYTES) * VECTOR_BYTES
        self.b.store(aligned.value, self.b.gep(job, [ir.Constant(I64, k)]))

    def job(self, numbers: Sequence[Any]) -> ir.Value:
        """Return a job of these numbers, to call another kernel with."""
        with self.b.goto_entry_block():
            place = self.b.alloca(I64, len(numbers))
        for k, number in enumerate(numbers):
            self.b.store(self.as_int(number).value, self.b.gep(place, [ir.Constant(I64, k)]))
        return place

    def pointer(self, address: Int, kind: ir.Type | None = None) -> ir.Value:
        """Return a pointer to numbers, or to something else."""
        return self.b.inttoptr(address.value, (kind or self.number).as_pointer())

    def load_number(self, pointer: ir.Value) -> ir.Value:
        """Return the number at a place."""
        return self.b.load(pointer)

    def store_number(self, value: ir.Value, pointer: ir.Value) -> None:
        """Put a number at a place."""
        self.b.store(value, pointer)

    # vectors

    def splat(self, value: Any) -> ir.Value:
        """Return a vector of one value: a Python number, or a number of the kernel."""
        if isinstance(value, bool | int | float):
            kind = I1 if isinstance(value, bool) else self.number
            return ir.Constant(ir.VectorType(kind, self.W), [ir.Constant(kind, value)] * self.W)
        undefined = ir.Constant(ir.VectorType(value.type, self.W), ir.Undefined)
        one = self.b.insert_element(undefined, value, ir.Constant(I32, 0))
        zeros = ir.Constant(ir.VectorType(I32, self.W), None)
        return self.b.shuffle_vector(one, undefined, zeros)

    def first(self, n: Int) -> ir.Value:
        """Return a mask of the first n numbers of a vector."""
        kind = ir.VectorType(I64, self.W)
        counts = ir.Constant(kind, [ir.Constant(I64, k) for k in range(self.W)])
        return self.b.icmp_signed("<", counts, self.splat(n.value))

    def intrinsic(self, name: str, *values: ir.Value, result: ir.Type | None = None) -> ir.Value:
        """Call an instruction of LLVM for vectors, such as ``"fma"``."""
        name = f"llvm.{name}.v{self.W}f{8 * self.dtype.itemsize}"
        return self.call(name, *values, result=result or self.vector)

    def load(self, pointer: ir.Value, mask: ir.Value | None = None) -> ir.Value:
        """Return the vector at a place; where the mask is 0, nothing is read and the value is 0."""
        place = self.b.bitcast(pointer, self.vector.as_pointer())
        align = self.dtype.itemsize
        if mask is None:
            return self.b.load(place, align=align)
        zero = ir.Constant(self.vector, None)
        name = f"llvm.masked.load.v{self.W}f{8 * align}.p0"
        align = ir.Constant(I32, align)
        return self.call(name, place, align, mask, zero, result=self.vector)

    def store(self, value: ir.Value, pointer: ir.Value, mask: ir.Value | None = None) -> None:
        """Put a vector at a place, but for those numbers where the mask is 0."""
        place = self.b.bitcast(pointer, self.vector.as_pointer())
        align = self.dtype.itemsize
        if mask is None:
            self.b.store(value, place, align=align)
            return
        name = f"llvm.masked.store.v{self.W}f{8 * align}.p0"
        self.call(name, value, place, ir.Constant(I32, align), mask)

    def load_booleans(self, pointer: ir.Value, mask: ir.Value | None = None) -> ir.Value:
        """Return a vector of truth values, which lie in memory as bytes."""
        kind = ir.VectorType(I8, self.W)
        place = self.b.bitcast(pointer, kind.as_pointer())
        if mask is None:
            values = self.b.load(place, align=1)
        else:
            zero = ir.Constant(kind, None)
            name = f"llvm.masked.load.v{self.W}i8.p0"
            values = self.call(name, place, ir.Constant(I32, 1), mask, zero, result=kind)
        return self.b.icmp_signed("!=", values, ir.Constant(kind, None))

    def store_booleans(
        self, values: ir.Value, pointer: ir.Value, mask: ir.Value | None = None
    ) -> None:
        """Put a vector of truth values at a place, as bytes, but for those where the mask is 0."""
        kind = ir.VectorType(I8, self.W)
        place = self.b.bitcast(pointer, kind.as_pointer())
        values = self.b.zext(values, kind)
        if mask is None:
            self.b.store(values, place, align=1)
        else:
            name = f"llvm.masked.store.v{self.W}i8.p0"
            self.call(name, values, place, ir.Constant(I32, 1), mask)
