"""How fast a language model of characters trains: symrnn beside an equal torch model, in one run.

    python benchmarks/language_model.py [--cells lstm gru] [--sizes 64,32,64,256,1] [--rounds 9]

A step: embedding, dropout, recurrent layers, dropout, output over 65 characters, cross-entropy, the
gradient clipped to a norm of 5, Adam; float32, truncated backpropagation with the state carried
from batch to batch. Sizes are (steps, batch, embedding, hidden, layers). Each peer trains on the
same random tokens, so that the loss stays where it is and no number becomes denormal.

Each peer lives in a process of its own, and only one computes at a time; see recurrent.py.
`tokens/s` is the median over rounds; `symrnn/peer` the median of the quotients within a round, so
above 1 symrnn is faster. Leave the machine alone meanwhile.
"""

import argparse
import os
from collections.abc import Callable
from typing import Any

from workers import add_peers, compare, print_head, work

Sizes = tuple[int, int, int, int, int]  # (steps, batch, embedding, hidden, layers)

N_TOKENS, DROPOUT, LEARNING_RATE, CLIP = 65, 0.2, 1e-5, 5.0
SIZES = [(64, 32, 64, 256, 1), (64, 32, 64, 512, 1), (35, 20, 200, 200, 2)]


def batches(sizes: Sizes) -> Callable[[], tuple[Any, Any]]:
    """Return a function that draws x and t, the same ones in every process."""
    import numpy as np

    rng = np.random.default_rng(1)

    def draw() -> tuple[Any, Any]:
        tokens = rng.integers(N_TOKENS, size=(sizes[0] + 1, sizes[1]))
        return tokens[:-1].copy(), tokens[1:].copy()

    return draw


def symrnn_peer() -> Callable[[str, Sizes], Callable[[], float]]:
    """`LanguageModel` in the default mode."""
    import numpy as np
    import pytensor

    import symrnn as sr

    pytensor.config.floatX = "float32"
    cells = {"lstm": sr.LSTMCell, "gru": sr.GRUCell, "elman": sr.ElmanCell}

    def optimizer(loss: Any, params: list[Any]) -> dict[Any, Any]:
        gradients = sr.clip_by_global_norm(pytensor.grad(loss, params), CLIP)
        return sr.adam(gradients, params, LEARNING_RATE)

    def make(cell: str, sizes: Sizes) -> Callable[[], float]:
        _, batch, n_embed, n_hidden, n_layers = sizes
        model = sr.LanguageModel(
            N_TOKENS, n_embed, n_hidden, rng=np.random.default_rng(1), n_layers=n_layers,
            cell=cells[cell], dropout=DROPOUT,
        )  # fmt: skip
        train = model.compile_training(optimizer, model.carry(batch))
        draw = batches(sizes)
        return lambda: float(train(*draw()))

    return make


def torch_peer() -> Callable[[str, Sizes], Callable[[], float]]:
    """Torch's own layers."""
    import torch
    from torch import nn

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    layers = {"lstm": nn.LSTM, "gru": nn.GRU, "elman": nn.RNN}

    def make(cell: str, sizes: Sizes) -> Callable[[], float]:
        _, _, n_embed, n_hidden, n_layers = sizes
        embedding, dropout = nn.Embedding(N_TOKENS, n_embed), nn.Dropout(DROPOUT)
        between = DROPOUT if n_layers > 1 else 0
        recurrent = layers[cell](n_embed, n_hidden, n_layers, dropout=between)
        output, draw = nn.Linear(n_hidden, N_TOKENS), batches(sizes)
        parts = nn.ModuleList([embedding, recurrent, output])
        optimizer = torch.optim.Adam(parts.parameters(), lr=LEARNING_RATE)
        state: Any = None

        def step() -> float:
            nonlocal state
            x, t = map(torch.from_numpy, draw())
            h, state = recurrent(dropout(embedding(x)), state)
            state = tuple(s.detach() for s in state) if cell == "lstm" else state.detach()
            logits = output(dropout(h)).reshape(-1, N_TOKENS)
            loss = nn.functional.cross_entropy(logits, t.reshape(-1))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parts.parameters(), CLIP)
            optimizer.step()
            return float(loss.detach())

        return step

    return make


PEERS = {"symrnn": symrnn_peer, "torch": torch_peer}


def parse_sizes(argument: str) -> Sizes:
    """Read ``steps,batch,embedding,hidden,layers``."""
    steps, batch, n_embed, n_hidden, n_layers = map(int, argument.split(","))
    return steps, batch, n_embed, n_hidden, n_layers


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--cells", nargs="+", choices=["lstm", "gru", "elman"], default=["lstm", "gru"])
    add(
        "--sizes", nargs="+", type=parse_sizes, default=SIZES,
        metavar="STEPS,BATCH,EMBED,HIDDEN,LAYERS",
    )  # fmt: skip
    add_peers(parser, PEERS)
    options = parser.parse_args()
    if options.worker:
        work(PEERS[options.worker], options.threads)
        return
    print_head(options, "cell  sizes", "tokens/s")
    for cell in options.cells:
        for sizes in options.sizes:
            label = f"{cell:<6}{','.join(map(str, sizes))}"
            compare(__file__, label, (cell, sizes), sizes[0] * sizes[1], options)


if __name__ == "__main__":
    main()
