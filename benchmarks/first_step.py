"""How long one waits for the first training step: the whole process, in seconds.

    python benchmarks/first_step.py                                   # everything
    python benchmarks/first_step.py --rows lstm lm --rounds 1         # two rows, one round
    python benchmarks/first_step.py --skip-cold                       # with compiled code only

Each row is a small program in a process of its own. Timed is from the start of the process until
its first training step is done: imports, data, building the graph, compiling, one step. In each
round a program runs three times, with one temporary folder for compiled code:

- `cold`: the folder is empty, as after an installation;
- `warm`: the same once more;
- `new shape`: other sizes of everything (time, batch, features, hidden units), not seen before.

| row | what trains |
|---|---|
| lstm, lstm-numba, torch | one LSTM layer at 100,32,64,128: default mode, mode NUMBA, torch |
| lm, seq2seq | the commands `lm train` and `seq2seq train --attention dot`, default sizes |
| bidirectional | encoder and decoder of two layers, the encoder bidirectional, with attention |
| transformer, vae, hred | `Transformer` with 2 + 2 layers, `SequenceVAE`, `DialogueModel` |
| counting, lesson | the bit-counting lesson until its first step, and until its end |

Medians over the rounds, and their range. Nothing is asserted. Leave the machine alone meanwhile.
"""

import argparse
import os
import random
import string
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from statistics import median
from typing import Any

from workers import machine

DONE = "first step done"
"""In the line that ends a measurement; the command line says it too."""

LESSON = Path(__file__).resolve().parent.parent / "tutorials" / "02_bit_counting.py"

# The programs. `other` is 0 for the usual sizes, and another number in each round for new ones.

START = """
import sys
import numpy as np, pytensor, pytensor.tensor as pt, symrnn as sr
pytensor.config.floatX = "float32"
rng, other = np.random.default_rng(1), int(sys.argv[1])
def tokens(n, *shape): return rng.integers(n, size=shape)
def optimizer(loss, params):
    return sr.adam(sr.clip_by_global_norm(pytensor.grad(loss, params), 5.0), params, 0.001)
"""
END = f'\nprint("{DONE}", flush=True)\n'

LAYER_SIZES = """
T, B, D, H = (40 + other, 16 + other, 48 + other, 96 + other) if other else (100, 32, 64, 128)
"""
LAYER = f"""{LAYER_SIZES}
cell, x = sr.LSTMCell(D, H, rng=rng), pt.tensor3("x")
loss = (sr.unroll(cell, x)[0] ** 2).sum()
step = sr.function([x], loss, sr.gradient_descent(loss, cell.params, 1e-6), mode=MODE)
step(rng.normal(size=(T, B, D)).astype("float32"))
"""
TORCH = f"""
import sys
import torch
other = int(sys.argv[1]){LAYER_SIZES}
layer = torch.nn.LSTM(D, H)
optimizer = torch.optim.SGD(layer.parameters(), lr=1e-6)
(layer(torch.randn(T, B, D))[0] ** 2).sum().backward()
optimizer.step()
"""
SEQ2SEQ = """
S, T, B, H = (20 + other, 8 + other, 64 + other, 96 + 2 * other) if other else (29, 11, 128, 256)
source, target = tokens(59, S, B), tokens(12, T, B)
net = {"n_layers": 2, "bidirectional": True, "attention": "dot"}
model = sr.Seq2Seq(59, 12, 16 + other, H, rng=rng, **net)
model.compile_training(optimizer)(source, source > -1, target, target > -1)
"""
TRANSFORMER = """
S, T, B, n = (20 + other, 8 + other, 32 + other, 32 + 4 * other) if other else (29, 11, 64, 64)
source, target = tokens(59, S, B), tokens(12, T, B)
model = sr.Transformer(59, 12, n, 4, rng=rng, dropout=0.1)
model.compile_training(optimizer)(source, source > -1, target, target > -1)
"""
VAE = """
T, B, H = (20 + other, 32 + other, 64 + other) if other else (30, 64, 128)
x = tokens(50, T, B)
model = sr.SequenceVAE(50, 32 + other, H, 16 + other, rng=rng, word_dropout=0.3)
model.compile_training(optimizer, kl_weight=0.1)(x, x > -1)
"""
HRED = """
T, turns, B, H = (9 + other, 3 + other, 16 + other, 48 + other) if other else (12, 4, 32, 128)
x = tokens(50, T, turns, B)
sr.DialogueModel(50, 32 + other, H, rng=rng).compile_training(optimizer)(x, x > -1)
"""
COUNTING = f"""
import runpy, sys
import symrnn.training.loop as loop
def first_step(step, batches, **_):
    step(*batches[0])
    print("{DONE}", flush=True)
loop.train = first_step
sys.path.insert(0, {str(LESSON.parent)!r})
sys.argv[1:] = ["--figures", "."]
runpy.run_path({str(LESSON)!r}, run_name="__main__")
"""

ROWS = {
    "lstm": START + LAYER.replace("MODE", "None") + END,
    "lstm-numba": START + LAYER.replace("MODE", '"NUMBA"') + END,
    "torch": TORCH + END,
    "lm": "-m symrnn lm train text.txt --out model.safetensors --force",
    "seq2seq": "-m symrnn seq2seq train --task dates --attention dot --force",
    "bidirectional": START + SEQ2SEQ + END,
    "transformer": START + TRANSFORMER + END,
    "vae": START + VAE + END,
    "hred": START + HRED + END,
    "counting": COUNTING,
    "lesson": str(LESSON),
}
"""A program for each row; what begins with ``-m`` is a command line."""


class NoStepError(Exception):
    """A program that ended without a step."""


def command(row: str, other: int) -> list[str]:
    """Return the arguments of Python for a row."""
    program = ROWS[row]
    if row == "lesson":
        return [program, "--figures", "."]
    if not program.startswith("-m"):
        return ["-c", program, str(other)]
    sizes = f" --embed {48 + other} --hidden {96 + other} --batch-size {20 + other}"
    sizes += f" --steps {40 + other}" if row == "lm" else ""
    return (program + (sizes if other else "")).split()


def seconds(row: str, other: int, folder: str) -> float:
    """Start a row's program, and return how long its first step takes."""
    flags = [os.environ.get("PYTENSOR_FLAGS"), f"base_compiledir={folder}/compiled"]
    environment = {**os.environ, "PYTENSOR_FLAGS": ",".join(filter(None, flags))}
    start, line = time.perf_counter(), ""
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", *command(row, other)],
        cwd=folder, env=environment | {"MPLBACKEND": "agg"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        for line in process.stdout:
            if DONE in line:
                taken = time.perf_counter() - start
                process.kill()
                return taken
    if row == "lesson" and not process.returncode:
        return time.perf_counter() - start
    if "ModuleNotFoundError" in line:
        raise NoStepError(f"not installed ({line.strip()})")
    raise NoStepError(f"ended with status {process.returncode}: {line.strip()}")


def new_folder() -> Any:
    """Return a temporary folder with the text that `lm train` reads."""
    folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    letters = random.Random(1).choices(string.ascii_letters + " .,\n", k=100_000)
    Path(folder.name, "text.txt").write_text("".join(letters), encoding="utf-8")
    return folder


def measure(row: str, options: argparse.Namespace) -> dict[str, list[float]]:
    """Return a row's seconds in each round."""
    taken: dict[str, list[float]] = {"cold": [], "warm": [], "new shape": []}
    for k in range(options.rounds):
        if not (k and options.skip_cold):
            folder = new_folder()
            taken["cold"].append(seconds(row, 0, folder.name))
        taken["warm"].append(seconds(row, 0, folder.name))
        if row != "lesson":
            taken["new shape"].append(seconds(row, k + 1, folder.name))
    if options.skip_cold:
        taken["cold"] = []
    return taken


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--rows", nargs="+", choices=[*ROWS], default=[*ROWS], metavar="ROW", help=", ".join(ROWS))
    add("--rounds", type=int, default=3, help="default: %(default)s")
    add("--skip-cold", action="store_true", help="compile once a row, and do not count that")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds must be 1 or more")
    print(textwrap.fill(machine(os.cpu_count() or 1), 100))
    titles = "".join(f"{title:>11}{'from':>8}{'to':>8}" for title in ("cold", "warm", "new shape"))
    print(f"{'row':<15}{titles}")
    for row in options.rows:
        try:
            columns = measure(row, options).values()
        except NoStepError as error:
            print(f"{row:<15}{error}", flush=True)
            continue
        cells = (f"{median(c):11.2f}{min(c):8.2f}{max(c):8.2f}" if c else " " * 27 for c in columns)
        print(f"{row:<15}{''.join(cells)}", flush=True)


if __name__ == "__main__":
    main()
