"""Peers of a benchmark, each in a process of its own, and the machine that they run on.

Thread pools of OpenBLAS, MKL and XLA could disturb each other in one process. A script starts a
`Worker` for each peer; in the new process the same script calls `work`.
"""

import argparse
import gc
import importlib.metadata
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any


class MissingPeerError(Exception):
    """A peer that is not there or does not work."""


class Worker:
    """The process of one peer, seen from here."""

    def __init__(self, script: str, peer: str, options: argparse.Namespace) -> None:
        n = str(options.threads)
        names = ("OMP", "OPENBLAS", "MKL", "NUMBA")
        environment = {**os.environ, **{f"{name}_NUM_THREADS": n for name in names}}
        command = [sys.executable, "-W", "ignore", script, "--threads", n, "--worker", peer]
        if getattr(options, "forward", False):
            command.append("--forward")
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self._answer()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *error: object) -> None:
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def ask(self, command: str, *arguments: Any) -> Any:
        """Return the worker's answer."""
        with suppress(BrokenPipeError):  # the missing answer tells that it has died
            self.process.stdin.write(json.dumps([command, *arguments]) + "\n")
            self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        line = self.process.stdout.readline()
        if not line:
            raise MissingPeerError(f"its process ended with status {self.process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise MissingPeerError(answer["error"])
        return answer["result"]


def in_turns(workers: dict[str, Worker], options: argparse.Namespace) -> dict[str, list[float]]:
    """Return each peer's seconds a step, one number a round; who begins changes each round."""
    seconds: dict[str, list[float]] = {peer: [] for peer in workers}
    order = list(workers)
    for k in range(options.rounds + 1):
        for peer in list(order):
            time.sleep(options.rest)
            try:
                taken = workers[peer].ask("block", options.block)
            except MissingPeerError as error:  # the others go on
                print(f"{peer}: {error}")
                order.remove(peer)
                seconds.pop(peer)
                continue
            if k:  # the first round warms up
                seconds[peer].append(taken)
        order = order[1:] + order[:1]
    return seconds


def add_peers(parser: argparse.ArgumentParser, peers: dict[str, Any]) -> None:
    """Add the options of a comparison by `compare`."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    add = parser.add_argument
    add("--peers", nargs="+", choices=[*peers], default=[*peers])
    add("--rounds", type=int, default=9, help="default: %(default)s")
    add("--block", type=float, default=1.0, help="seconds a peer runs in a round: %(default)s")
    add("--rest", type=float, default=0.2, help="seconds of sleep before it: %(default)s")
    add("--threads", type=int, default=cores, help="for each peer; default: all cores")
    add("--worker", help=argparse.SUPPRESS)


def print_head(options: argparse.Namespace, what: str, unit: str) -> None:
    """Print the machine, and the head of the table that `compare` prints."""
    print(textwrap.fill(machine(options.threads), 100))
    print(f"{what:<24}{'peer':<8}{unit:>9} {'from':>8}    {'to':>8} symrnn/peer")


def compare(
    script: str, label: str, arguments: tuple[Any, ...], n_units: int, options: argparse.Namespace
) -> None:
    """Print a line for each peer: how many units a second it trains on."""
    with ExitStack() as stack:
        workers = {}
        for peer in options.peers:
            try:
                worker = stack.enter_context(Worker(script, peer, options))
                worker.ask("make", *arguments)
                worker.ask("steps", 2)
                workers[peer] = worker
            except MissingPeerError as error:
                print(f"{peer}: {error}")
        seconds = in_turns(workers, options)
    for peer, own in seconds.items():
        pairs = zip(seconds.get("symrnn", []), own, strict=False)
        quotients = [theirs / ours for ours, theirs in pairs]
        quotient = f"{statistics.median(quotients):11.2f}" if quotients else ""
        speed = n_units / statistics.median(own)
        spread = f"{n_units / max(own):8.0f} to {n_units / min(own):8.0f}"
        print(f"{label:<24}{peer:<8}{speed:9.0f} {spread} {quotient}", flush=True)


def work(peer: Callable[[], Any], threads: int) -> None:
    """Be a worker: `peer` returns a maker of training steps."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever libraries print does not get between the answers
    if hasattr(os, "sched_setaffinity"):  # the only limit that XLA's thread pool knows
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])

    def answer(function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            result = function(*arguments)
            line = {"result": None if callable(result) else result}
        except ModuleNotFoundError as error:
            result, line = None, {"error": f"not installed ({error})"}
        except Exception as error:
            message = (str(error).splitlines() or [""])[0]
            result, line = None, {"error": f"{type(error).__name__}: {message}"}
        print(json.dumps(line), file=answers, flush=True)
        return result

    make = answer(peer)
    if make is None:
        return
    step: Any = None

    def block(seconds: float) -> float:
        timed: list[float] = []
        start = time.perf_counter()
        step()
        while time.perf_counter() - start < seconds / 4:
            step()
        gc.disable()
        while len(timed) < 3 or time.perf_counter() - start < seconds:
            before = time.perf_counter()
            step()
            timed.append(time.perf_counter() - before)
        gc.enable()
        return statistics.median(timed)

    def steps(n: int) -> float:
        return [step() for _ in range(n)][-1]

    for line in sys.stdin:
        command, *arguments = json.loads(line)
        if command == "make":
            step = None
            gc.collect()
            step = answer(make, *arguments)
        else:
            answer(
                {"steps": steps, "block": block, "megabytes": peak_megabytes}[command], *arguments
            )


def peak_megabytes() -> float:
    """Largest resident memory of this process until now."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def machine(threads: int) -> str:
    """CPU, cores and versions."""
    cpu = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            models = [line.split(":", 1)[1].strip() for line in lines if "model name" in line]
        cpu = models[0] if models else cpu
    versions = [f"Python {platform.python_version()}"]
    for name in ("symrnn", "pytensor", "numba", "numpy", "torch", "jax", "pytensor-ml", "gensim"):
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"no {name}")
    return f"{cpu}, {os.cpu_count()} cores, {threads} threads; {', '.join(versions)}"
