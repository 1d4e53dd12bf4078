"""Uniform random numbers, a vector at a time: those of dropout's masks.

NumPy's generators make one number after the other, which for a layer's mask takes longer than the
layer's products of a step. The kernel makes number k of an array from k itself and a key, by a hash
function: each bit of the result depends on each bit of both. The key is drawn from the generator,
so the numbers are the same for one seed, on any machine and with any number of threads.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.rewriting.basic import node_rewriter
from pytensor.tensor.basic import get_underlying_scalar_constant_value
from pytensor.tensor.random.basic import UniformRV
from pytensor.tensor.type_other import NoneTypeT

from symrnn.kernels.buffers import empty
from symrnn.kernels.machine import load_kernel, n_threads
from symrnn.kernels.threads import load_threads, work_arguments
from symrnn.kernels.writing import I32, JOB, Array, Code

FEW = 2**10
"""Numbers that NumPy draws in less time than it takes to call the kernel."""
BLOCK = 1024
# triple32 of Wellons (2018, "Prospecting for hash functions"): shifts and multipliers
ROUNDS = ((17, 0xED5AD4BB), (11, 0xAC4C1B51), (15, 0x31848BAB), (14, None))


@cache
def load_uniform() -> Callable[[int], None]:
    """Compile the kernel for float32; return a function that calls it with the address of a job.

    A job has the number of threads, how many numbers there shall be, their address, and the key:
    two numbers of 32 bits.
    """
    load_threads()
    module = ir.Module("uniform")
    work = Code(module, "work", work_arguments(), private=True)
    lo, hi, _, job = work.arguments
    n, out = work.given(job, 1), Array(work, work.pointer(work.given(job, 2)))
    first_key, second_key = (
        work.splat(work.b.trunc(work.given(job, k).value, I32)) for k in (3, 4)
    )
    kind = ir.VectorType(I32, work.W)

    def whole(value: int) -> ir.Constant:
        return ir.Constant(kind, [ir.Constant(I32, value)] * work.W)

    counts = ir.Constant(kind, [ir.Constant(I32, k) for k in range(work.W)])
    with work.loop(lo, hi) as block:
        last = ((block + 1) * BLOCK).at_most(n)
        with work.loop(block * BLOCK, last, work.W) as k:
            x = work.b.add(work.splat(work.b.trunc(k.value, I32)), counts)
            for key in (first_key, second_key):
                x = work.b.xor(x, key)
                for shift, multiplier in ROUNDS:
                    x = work.b.xor(x, work.b.lshr(x, whole(shift)))
                    if multiplier:
                        x = work.b.mul(x, whole(multiplier))
            number = work.b.uitofp(work.b.lshr(x, whole(8)), work.vector)  # 24 bits are exact
            number = work.b.fmul(number, work.splat(2.0**-24))
            is_whole = (k + work.W).compare("<=", n)
            with work.b.if_else(is_whole) as (yes, no):
                with yes:
                    work.store(number, out.at(k))
                with no:
                    work.store(number, out.at(k), work.first(n - k))
    work.end()
    kernel = Code(module, "kernel", [JOB])
    (job,) = kernel.arguments
    n = kernel.given(job, 1)
    blocks = n.ceil_div(BLOCK)
    kernel.call("symrnn_in_threads", work.function, blocks, kernel.given(job, 0), n * 16, job)
    kernel.end()
    return load_kernel(str(module))[1]


def draw_uniform(rng: np.random.Generator, size: Any, dtype: str) -> np.ndarray:
    """Return numbers within [0, 1).

    Examples
    --------
    >>> x = draw_uniform(np.random.default_rng(1), (100, 50), "float32")
    >>> x.shape, bool(0.49 < x.mean() < 0.51)
    ((100, 50), True)
    """
    if dtype != "float32" or np.prod(size) < FEW:
        return np.asarray(rng.random(size, dtype=dtype))  # type: ignore[call-overload]
    out = empty(size, dtype)
    keys = rng.integers(2**32, size=2)
    address = out.__array_interface__["data"][0]
    job = np.array([n_threads(), out.size, address, *keys], np.int64)
    load_uniform()(job.ctypes.data)
    return out


class Uniform(UniformRV):
    """Numbers within [0, 1), whatever the bounds among the inputs are."""

    def rng_fn(self, rng: Any, low: Any, high: Any, size: Any) -> Any:
        """Draw them."""
        return draw_uniform(rng, size, self.dtype)


@node_rewriter([UniformRV])
def uniform_from_0_to_1(fgraph: Any, node: Apply[Any]) -> list[Variable] | None:
    """Replace a draw between 0 and 1 by `Uniform`."""
    _, size, *bounds = node.inputs
    if isinstance(node.op, Uniform) or isinstance(size.type, NoneTypeT):
        return None
    known = [
        get_underlying_scalar_constant_value(
            b, elemwise=False, max_recur=3, raise_not_constant=False
        )
        for b in bounds
    ]
    if any(isinstance(b, Variable) for b in known) or [float(b) for b in known] != [0, 1]:
        return None
    # made without `make_node`, which would find out the static shape once more, in a long search
    types = [o.type() for o in node.outputs]
    return list(Apply(Uniform(**node.op._props_dict()), node.inputs, types).outputs)
