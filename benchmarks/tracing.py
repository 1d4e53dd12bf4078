"""What a trace costs: a scan run as it is, and with all its values kept, both already compiled.

    python benchmarks/tracing.py [MODE]       # default: QUICK, which `symrnn.explain.trace` takes

1000 steps, batch 8, 64 units; the fastest of several runs, and the quotient of both.
"""

import sys
import time
from collections.abc import Callable

import numpy as np
import pytensor
import pytensor.tensor as pt

import symrnn as sr
from symrnn.explain.dissection import anatomies
from symrnn.explain.inputs import outer_values
from symrnn.explain.running import Run

N_STEPS = 1000


def fastest(f: Callable[[], object], repeats: int = 7) -> float:
    """Milliseconds of the fastest call."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        f()
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


def compare(cell: sr.Cell, mode: object) -> tuple[float, float]:
    """Milliseconds of the plain and the traced run of a cell's plain scan."""
    x = pt.tensor3("x")
    outputs, _ = sr.unroll(cell, x, implementation="scan")
    value = np.random.default_rng(1).normal(size=(N_STEPS, 8, 16)).astype(x.dtype)
    plain = pytensor.function([x], outputs, mode=mode)
    (scan,) = anatomies([outputs])

    def give() -> list[object]:
        return outer_values(scan.node, [outputs], {x: value}, sr.QUICK)

    run = Run(scan, give(), everything=False, mode=mode)
    first = fastest(lambda: list(run.chunks(N_STEPS, N_STEPS)), 1)
    del first  # numba compiles at the first call
    return fastest(lambda: plain(value)), fastest(lambda: list(run.chunks(N_STEPS, N_STEPS)))


if __name__ == "__main__":
    mode = sys.argv[1] if len(sys.argv) > 1 else sr.QUICK
    for kind in (sr.ElmanCell, sr.LSTMCell, sr.GRUCell):
        plain, traced = compare(kind(16, 64, rng=np.random.default_rng(0)), mode)
        print(f"{kind.__name__:<10} plain {plain:7.1f} ms, traced {traced:7.1f} ms, ", end="")
        print(f"quotient {traced / plain:.2f}")
