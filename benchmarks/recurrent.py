"""How fast a recurrent layer trains: symrnn beside torch and jax, in one run.

    python benchmarks/recurrent.py               # times of a training step
    python benchmarks/recurrent.py --alone       # each shape in processes of its own
    python benchmarks/recurrent.py --growth      # how times grow with time, batch and hidden units
    python benchmarks/recurrent.py --forward     # the forward pass alone; the rest is backward
    python benchmarks/recurrent.py --memory      # peak memory against the number of steps in time

A training step of one layer is forward, backward and gradient descent on the mean of the squared
outputs, in float32. All peers get the same weights and the same input; a line warns if their first
losses differ. Nothing is asserted.

Each peer lives in a process of its own, since the thread pools of OpenBLAS, MKL and XLA could
disturb each other in one. Only one of them computes at a time: in every round, one peer after the
other runs for a fraction of a second (untimed steps first, then timed ones), with a short sleep
between so that threads waiting actively for work go to rest. The order rotates from round to round.
A round gives each peer one number, the median of its timed steps.

How to read the table: `ms` is the median over rounds, `from` and `to` the fastest and slowest one;
`x torch` and `x jax` are medians over rounds of the quotient within a round, so below 1 a peer is
faster than torch or jax.
Other busy processes slow the peers very differently: measure on an idle machine. `GFLOP/s` counts
only the five matrix products (x W_x and h W_h; dh, dW_x and dW_h), and `peak` is their share of the
fastest product of two 1500 x 1500 matrices in NumPy, one more peer in the same rounds.
benchmarks/README.md says more.
"""

import argparse
import json
import os
import statistics
import textwrap
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

from workers import MissingPeerError, Worker, in_turns, machine, work

Shape = tuple[int, int, int, int]  # (time, batch, inputs, hidden)
Step = Callable[[], float]  # one training step; returns the loss

SHAPES = [
    *((35, 20, 650, 650), (35, 20, 200, 200), (100, 32, 64, 128), (50, 1, 16, 16)),
    *((64, 32, 64, 256), (20, 128, 16, 128)),
]
GROWTH = [
    *((25, 32, 64, 128), (100, 32, 64, 128), (400, 32, 64, 128)),
    *((100, 1, 64, 128), (100, 8, 64, 128), (100, 128, 64, 128)),
    *((100, 32, 64, 32), (100, 32, 64, 512), (100, 32, 64, 1024)),
]
MEMORY_TIMES, MEMORY_SIZES = (100, 300, 1000), (32, 256, 256)  # (batch, inputs, hidden)
N_GATES = {"lstm": 4, "gru": 3, "elman": 1}
LEARNING_RATE = 1e-6  # so small that even after many steps no weight is a denormal number
PEAK_SIZE = 1500


# Peers: each function imports what it needs and returns a maker of training steps. They run in
# processes of their own; this one imports nothing heavy.


def data(cell: str, shape: Shape) -> tuple[Any, ...]:
    """Return x, W_x and W_h, the same for all peers; all biases are 0."""
    import numpy as np

    T, B, D, H = shape
    rng = np.random.default_rng(1)
    W_x = rng.normal(size=(D, N_GATES[cell] * H)) / D**0.5
    W_h = rng.normal(size=(H, N_GATES[cell] * H)) / H**0.5
    x = rng.normal(size=(T, B, D))
    return tuple(a.astype("float32") for a in (x, W_x, W_h))


def symrnn_peer(
    mode: str | None = None, implementation: str = "kernel", forward: bool = False
) -> Callable[[str, Shape], Step]:
    """Symrnn in its default mode or another; in mode JAX all shapes have to be known."""
    import pytensor
    import pytensor.tensor as pt

    import symrnn as sr

    if mode == "JAX":
        import jax  # noqa: F401  (tells early that it is missing)
    pytensor.config.floatX = "float32"
    cells = {"lstm": sr.LSTMCell, "gru": sr.GRUCell, "elman": sr.ElmanCell}

    def make(name: str, shape: Shape) -> Step:
        x_value, W_x, W_h = data(name, shape)
        cell = cells[name](*shape[2:], W_x=W_x, W_h=W_h)
        cell.b.set_value(0 * cell.b.get_value())
        known = shape[:3] if mode == "JAX" else (None, None, None)
        x = pt.tensor("x", dtype="float32", shape=known)
        outputs, _ = sr.unroll(cell, x, implementation=implementation)
        loss = (outputs**2).mean()
        updates = {} if forward else sr.gradient_descent(loss, cell.params, LEARNING_RATE)
        function = sr.function([x], loss, updates=updates, mode=mode)
        return lambda: float(function(x_value))

    return make


def torch_peer(forward: bool = False) -> Callable[[str, Shape], Step]:
    """Torch's own layers. They have a second bias, which is one more sum in the backward pass."""
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    layers = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "elman": torch.nn.RNN}

    def make(name: str, shape: Shape) -> Step:
        x, W_x, W_h = (torch.from_numpy(a) for a in data(name, shape))
        layer = layers[name](*shape[2:])
        with torch.no_grad():
            for p in layer.parameters():
                p.zero_()
            layer.weight_ih_l0.copy_(W_x.T)
            layer.weight_hh_l0.copy_(W_h.T)
        optimizer = torch.optim.SGD(layer.parameters(), lr=LEARNING_RATE)

        def step() -> float:
            if forward:
                with torch.no_grad():
                    return float((layer(x)[0] ** 2).mean())
            optimizer.zero_grad()
            outputs, _ = layer(x)
            loss = (outputs**2).mean()
            loss.backward()
            optimizer.step()
            return float(loss.detach())

        return step

    return make


def jax_peer(forward: bool = False) -> Callable[[str, Shape], Step]:
    """`jax.lax.scan` with the input's product outside the loop; it compiles at the first step."""
    import jax
    import jax.numpy as jnp
    from jax.nn import sigmoid

    def lstm(zx: Any, zh: Any, h: Any, c: Any) -> tuple[Any, ...]:
        i, f, g, o = jnp.split(zx + zh, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * jnp.tanh(g)
        return sigmoid(o) * jnp.tanh(c), c

    def gru(zx: Any, zh: Any, h: Any) -> tuple[Any, ...]:
        (xr, xu, xn), (hr, hu, hn) = jnp.split(zx, 3, axis=1), jnp.split(zh, 3, axis=1)
        r, u = sigmoid(xr + hr), sigmoid(xu + hu)
        return ((1 - u) * jnp.tanh(xn + r * hn) + u * h,)

    def elman(zx: Any, zh: Any, h: Any) -> tuple[Any, ...]:
        return (jnp.tanh(zx + zh),)

    def make(name: str, shape: Shape) -> Step:
        T, B, D, H = shape
        cell = {"lstm": lstm, "gru": gru, "elman": elman}[name]
        x, W_x, W_h = (jnp.asarray(a) for a in data(name, shape))
        params = {"W_x": W_x, "W_h": W_h, "b": jnp.zeros(W_x.shape[1])}
        if name == "gru":
            params["b_hn"] = jnp.zeros(H)

        def loss_of(p: dict[str, Any], x: Any) -> Any:
            def step(state: Any, zx: Any) -> tuple[Any, Any]:
                zh = state[0] @ p["W_h"]
                if name == "gru":
                    zh = zh.at[:, 2 * H :].add(p["b_hn"])
                state = cell(zx, zh, *state)
                return state, state[0]

            zx = (x.reshape(T * B, D) @ p["W_x"] + p["b"]).reshape(T, B, -1)
            start = (jnp.zeros((B, H)),) * (2 if name == "lstm" else 1)
            return (jax.lax.scan(step, start, zx)[1] ** 2).mean()

        compiled_loss = jax.jit(loss_of)

        @jax.jit
        def train(p: dict[str, Any], x: Any) -> tuple[Any, Any]:
            loss, gradients = jax.value_and_grad(loss_of)(p, x)
            return loss, jax.tree.map(lambda w, g: w - LEARNING_RATE * g, p, gradients)

        def step() -> float:
            nonlocal params
            if forward:
                return float(compiled_loss(params, x))
            loss, params = jax.block_until_ready(train(params, x))
            return float(loss)

        return step

    return make


def pytensor_ml_peer(forward: bool = False) -> Callable[[str, Shape], Step]:
    """pytensor-ml's own layers and compilation; they are batch-major."""
    import numpy as np
    import pytensor
    import pytensor.tensor as pt
    from pytensor_ml.layers import GRU, LSTM, RNN
    from pytensor_ml.pytensorf import function

    pytensor.config.floatX = "float32"
    layers = {"lstm": LSTM, "gru": GRU, "elman": RNN}

    def make(name: str, shape: Shape) -> Step:
        x_value, W_x, W_h = data(name, shape)
        x_value = x_value.swapaxes(0, 1).copy()
        layer = layers[name](n_in=shape[2], n_hidden=shape[3])
        cell = layer.cell
        params = [cell.W_ih, cell.W_hh, cell.b, *([cell.c] if name == "gru" else [])]
        for p, value in zip(params, [W_x, W_h], strict=False):
            p.set_value(value)
        for p in params[2:]:
            p.set_value(0 * p.get_value())
        x = pt.tensor("x", dtype="float32", shape=(None, None, shape[2]))
        loss = (layer(x) ** 2).mean()
        gradients = pytensor.grad(loss, params)
        updates = {
            p: p - np.float32(LEARNING_RATE) * g for p, g in zip(params, gradients, strict=True)
        }
        step = function([x], loss, updates={} if forward else updates, mode="NUMBA")
        return lambda: float(step(x_value))

    return make


def peak_peer(forward: bool = False) -> Callable[[str, Shape], Step]:
    """Product of two square matrices in NumPy, for the machine's peak."""
    import numpy as np

    def make(name: str, shape: Shape) -> Step:
        a, b = np.random.default_rng(1).normal(size=(2, PEAK_SIZE, PEAK_SIZE)).astype("float32")
        return lambda: float((a @ b)[0, 0])

    return make


PEERS: dict[str, Callable[..., Callable[[str, Shape], Step]]] = {
    "symrnn": symrnn_peer,
    "symrnn-numba": partial(symrnn_peer, "NUMBA"),
    "symrnn-jax": partial(symrnn_peer, "JAX"),
    "symrnn-scan": partial(symrnn_peer, "NUMBA", "scan"),
    "torch": torch_peer,
    "jax": jax_peer,
    "pytensor-ml": pytensor_ml_peer,
    "peak": peak_peer,
}
ALL_PEERS = [peer for peer in PEERS if peer != "peak"]


# A worker is a process with one peer. It reads one command a line and answers with one line.


# What is measured

COLUMNS = {
    "cell": (6, "<6"),
    "peer": (12, "<12"),
    "code": (9, "<9"),
    "time,batch,in,hidden": (20, "<20"),
    "ms": (9, "9.3f"),
    "from": (9, "9.3f"),
    "to": (9, "9.3f"),
    "x torch": (7, "7.2f"),
    "x jax": (6, "6.2f"),
    "GFLOP/s": (7, "7.1f"),
    "peak": (5, "5.0%"),
    "MB before": (9, "9.0f"),
    "MB peak": (7, "7.0f"),
    "difference": (10, "10.0f"),
    "per time step": (13, "13.3f"),
}  # width and format; others are seconds


def print_titles(*names: str) -> None:
    """Print the first line of a table."""
    titles = (f"{n:{'<>'['f' in f or '%' in f]}{w}}" for n in names for w, f in [column(n)])
    print(" ".join(titles), flush=True)


def print_row(row: dict[str, Any], *names: str) -> None:
    """Print a line of a table; what is None stays empty."""
    cells = ((row[n], *column(n)) for n in names)
    print(" ".join(" " * w if v is None else f"{v:{f}}" for v, w, f in cells), flush=True)


def column(name: str) -> tuple[int, str]:
    """Width and format of a column."""
    return COLUMNS.get(name, (8, "8.2f"))


def measure_steps(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Time of a training step; prints a table for each cell."""
    results: list[dict[str, Any]] = []
    names = [
        "time,batch,in,hidden",
        "peer",
        "ms",
        "from",
        "to",
        "x torch",
        "x jax",
        "GFLOP/s",
        "peak",
    ]
    what = "forward pass" if options.forward else "training step"
    with ExitStack() as stack:
        workers = {} if options.alone else start(stack, options)
        for cell in options.cells:
            print(f"\n{cell}: milliseconds a {what}, medians of {options.rounds} rounds")
            print_titles(*names)
            for shape in options.shapes:
                with ExitStack() as alone:
                    for row in rounds(cell, shape, workers or start(alone, options), options):
                        results.append(row)
                        print_row(row, *names)
    return results


def start(stack: ExitStack, options: argparse.Namespace) -> dict[str, Worker]:
    """Start the processes of all peers."""
    workers = {}
    for peer in [*options.peers, "peak"]:
        try:
            workers[peer] = stack.enter_context(Worker(__file__, peer, options))
        except MissingPeerError as error:
            print(f"{peer}: {error}")
    return workers


def rounds(
    cell: str, shape: Shape, workers: dict[str, Worker], options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Time one layer in all peers, round after round."""
    losses: dict[str, float] = {}
    for peer, worker in workers.items():
        try:
            worker.ask("make", cell, shape)
            losses[peer] = worker.ask("steps", 1)
        except MissingPeerError as error:
            print(f"{text(shape)} {peer}: {error}")
    seconds = in_turns({peer: workers[peer] for peer in losses}, options)
    peak = 2 * PEAK_SIZE**3 / min(seconds.pop("peak"))
    del losses["peak"]
    if losses and max(losses.values()) - min(losses.values()) > 1e-4 * max(losses.values()):
        print(f"the first losses differ: {losses}")
    T, B, D, H = shape
    per_step = D + H if options.forward else 2 * D + 3 * H  # of two products, or of five
    flops = 2 * T * B * N_GATES[cell] * H * per_step
    rows = []
    for peer, own in seconds.items():
        median = statistics.median(own)
        row = {"cell": cell, "peer": peer, "time,batch,in,hidden": text(shape), "ms": 1e3 * median}
        row |= {"from": 1e3 * min(own), "to": 1e3 * max(own)}
        for other in ("torch", "jax"):
            ratios = [a / b for a, b in zip(own, seconds.get(other, []), strict=False)]
            row |= {f"x {other}": statistics.median(ratios) if ratios else None}
        row |= {"GFLOP/s": flops / median / 1e9, "peak": flops / median / peak}
        rows.append(row | {"seconds": own, "peak FLOP/s": peak, "first loss": losses[peer]})
    return rows


def text(shape: Shape) -> str:
    """Write ``time,batch,inputs,hidden``."""
    return ",".join(map(str, shape))


def measure_memory(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Peak memory of a process that trains, against the length of the sequence."""
    results = []
    names = ["cell", "peer", "time,batch,in,hidden", "MB before", "MB peak", "difference"]
    names.append("per time step")
    print("\nlargest resident memory of a process, each line a process of its own")
    print_titles(*names)
    for cell in options.cells:
        for peer in options.peers:
            last: dict[str, Any] | None = None
            for T in (2, *MEMORY_TIMES):  # T = 2 fills the cache: compiling needs memory too
                row = {"cell": cell, "peer": peer, "time": T}
                shape = (T, *MEMORY_SIZES)
                try:
                    with Worker(__file__, peer, options) as worker:
                        worker.ask("make", cell, shape)
                        before = worker.ask("megabytes")
                        worker.ask("steps", 5)
                        peak = worker.ask("megabytes")
                except MissingPeerError as error:
                    print(f"{cell} {peer}: {error}")
                    break
                if T not in MEMORY_TIMES:
                    continue
                growth = last and (peak - last["MB peak"]) / (T - last["time"])
                row |= {"time,batch,in,hidden": text(shape), "MB before": before, "MB peak": peak}
                last = row | {"difference": peak - before, "per time step": growth}
                results.append(last)
                print_row(last, *names)
    return results


# The command line


def parse_shape(argument: str) -> Shape:
    """Read ``time,batch,inputs,hidden``."""
    T, B, D, H = map(int, argument.split(","))
    return T, B, D, H


def main() -> None:
    """Measure what the command line asks for."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--alone", action="store_true", help="each shape in processes of its own")
    add("--growth", action="store_true", help="shapes that differ in one size from 100,32,64,128")
    add("--forward", action="store_true", help="no gradients: the forward pass alone")
    add("--memory", action="store_true", help="measure peak memory instead")
    add("--cells", nargs="+", choices=[*N_GATES], help="default: all; with --memory lstm")
    add(
        "--shapes", nargs="+", type=parse_shape, default=SHAPES, metavar="TIME,BATCH,INPUTS,HIDDEN",
        help="--memory has its own",
    )  # fmt: skip
    add(
        "--peers", nargs="+", choices=ALL_PEERS,
        help="default: all; with --memory symrnn, torch and jax. "
        "symrnn-scan is symrnn with the scan's own gradient",
    )  # fmt: skip
    add("--rounds", type=int, default=9, help="default: %(default)s")
    add("--block", type=float, default=0.3, help="seconds a peer runs in a round: %(default)s")
    add("--rest", type=float, default=0.1, help="seconds of sleep before it: %(default)s")
    add("--threads", type=int, default=cores, help="for each peer; default: all cores")
    add("--json", metavar="FILE", help="write the results there too")
    add("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(lambda: PEERS[options.worker](forward=options.forward), options.threads)
        return
    if options.rounds < 1:
        parser.error("--rounds must be 1 or more")
    if options.growth:
        options.shapes = GROWTH
    if options.memory:
        kind, measure, peers = "memory", measure_memory, ["symrnn", "torch", "jax"]
    else:
        kind, measure, peers = "steps", measure_steps, ALL_PEERS
    options.cells = options.cells or (["lstm"] if options.memory else [*N_GATES])
    options.peers = options.peers or peers
    header = machine(options.threads)
    print(textwrap.fill(header, 100), flush=True)
    results = {"machine": header, "options": vars(options).copy(), kind: measure(options)}
    if options.json:
        with open(f"{options.json}.part", "w", encoding="utf-8") as file:
            json.dump(results, file, indent=1)
        os.replace(f"{options.json}.part", options.json)


if __name__ == "__main__":
    main()
