"""How fast a sequence to sequence model trains: symrnn beside an equal torch model, in one run.

    python benchmarks/seq2seq.py [--cells lstm gru] [--cases addition dates] [--rounds 9]

A step: embeddings, encoder, decoder with the right tokens before each step, attention, output,
cross-entropy of the real tokens, the gradient clipped to a norm of 5, Adam; float32. The cases have
the sizes of lessons 16 and 17. All sources of a batch are equally long, so that torch needs no
packing; symrnn gets its masks all the same. Each peer trains on the same random tokens.

`input` is the case with context_to="both", in which a step's input has the context of the state
before: there torch, too, needs a loop over the steps, in Python.

Each peer lives in a process of its own, and only one computes at a time; see recurrent.py.
`pairs/s` is the median over rounds; `symrnn/peer` the median of the quotients within a round, so
above 1 symrnn is faster. Leave the machine alone meanwhile.
"""

import argparse
import os
from collections.abc import Callable
from typing import Any, NamedTuple

from workers import add_peers, compare, print_head, work

LEARNING_RATE, CLIP = 1e-5, 5.0


class Case(NamedTuple):
    """Sizes and kind of a model."""

    positions: int
    steps: int
    batch: int
    n_embed: int
    n_hidden: int
    n_source: int
    n_target: int
    attention: str | None = None
    context_to: str = "output"


CASES = {
    "addition": Case(7, 5, 128, 16, 128, 12, 11),
    "dates": Case(29, 11, 128, 16, 256, 59, 12, "dot"),
    "input": Case(29, 11, 128, 16, 256, 59, 12, "dot", "both"),
}


def batches(case: Case) -> Callable[[], tuple[Any, ...]]:
    """Return a function that draws a batch, the same ones in every process."""
    import numpy as np

    rng = np.random.default_rng(1)
    valid = np.ones((case.positions, case.batch), bool), np.ones((case.steps, case.batch), bool)

    def draw() -> tuple[Any, ...]:
        source = rng.integers(case.n_source, size=valid[0].shape)
        return source, valid[0], rng.integers(case.n_target, size=valid[1].shape), valid[1]

    return draw


def symrnn_peer() -> Callable[[str, str], Callable[[], float]]:
    """`Seq2Seq` in the default mode."""
    import numpy as np
    import pytensor

    import symrnn as sr

    pytensor.config.floatX = "float32"
    cells = {"lstm": sr.LSTMCell, "gru": sr.GRUCell}

    def optimizer(loss: Any, params: list[Any]) -> dict[Any, Any]:
        gradients = sr.clip_by_global_norm(pytensor.grad(loss, params), CLIP)
        return sr.adam(gradients, params, LEARNING_RATE)

    def make(cell: str, name: str) -> Callable[[], float]:
        case = CASES[name]
        model = sr.Seq2Seq(
            case.n_source, case.n_target, case.n_embed, case.n_hidden, rng=np.random.default_rng(1),
            cell=cells[cell], attention=case.attention, context_to=case.context_to,
        )  # fmt: skip
        train, draw = model.compile_training(optimizer), batches(case)
        return lambda: float(train(*draw()))

    return make


def torch_peer() -> Callable[[str, str], Callable[[], float]]:
    """Torch's own layers."""
    import torch
    from torch import nn
    from torch.nn import functional

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    layers = {"lstm": nn.LSTM, "gru": nn.GRU}

    def attend(query: Any, memory: Any) -> Any:
        """Contexts of queries ``(steps, batch, n)``; memory ``(positions, batch, n)``."""
        q, m = query.transpose(0, 1), memory.transpose(0, 1)
        return (torch.softmax(q @ m.transpose(1, 2), dim=-1) @ m).transpose(0, 1)

    def make(cell: str, name: str) -> Callable[[], float]:
        case = CASES[name]
        context_to_input = case.attention is not None and case.context_to != "output"
        embed_source = nn.Embedding(case.n_source, case.n_embed)
        embed_target = nn.Embedding(case.n_target + 1, case.n_embed)
        encoder = layers[cell](case.n_embed, case.n_hidden)
        decoder = layers[cell](case.n_embed + case.n_hidden * context_to_input, case.n_hidden)
        output = nn.Linear(case.n_hidden * (1 + (case.attention is not None)), case.n_target)
        parts = nn.ModuleList([embed_source, embed_target, encoder, decoder, output])
        optimizer = torch.optim.Adam(parts.parameters(), lr=LEARNING_RATE)
        draw = batches(case)

        def outputs(x: Any, memory: Any, state: Any) -> Any:
            if case.attention is None:
                return decoder(x, state)[0]
            if not context_to_input:
                h = decoder(x, state)[0]
                return torch.cat([h, attend(h, memory)], dim=2)
            found = []
            for x_t in x:
                h = state[0] if cell == "lstm" else state
                context = attend(h, memory)
                h, state = decoder(torch.cat([x_t[None], context], dim=2), state)
                found.append(torch.cat([h, context], dim=2))
            return torch.cat(found)

        def step() -> float:
            source, _, target, _ = draw()
            source, target = torch.from_numpy(source), torch.from_numpy(target)
            memory, state = encoder(embed_source(source))
            previous = torch.cat([torch.full_like(target[:1], case.n_target), target[:-1]])
            h = outputs(embed_target(previous), memory, state)
            logits = output(h).reshape(-1, case.n_target)
            loss = functional.cross_entropy(logits, target.reshape(-1))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parts.parameters(), CLIP)
            optimizer.step()
            return float(loss.detach())

        return step

    return make


PEERS = {"symrnn": symrnn_peer, "torch": torch_peer}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", nargs="+", choices=["lstm", "gru"], default=["lstm", "gru"])
    parser.add_argument("--cases", nargs="+", choices=[*CASES], default=[*CASES])
    add_peers(parser, PEERS)
    options = parser.parse_args()
    if options.worker:
        work(PEERS[options.worker], options.threads)
        return
    print_head(options, "cell  case", "pairs/s")
    for cell in options.cells:
        for name in options.cases:
            compare(__file__, f"{cell:<6}{name}", (cell, name), CASES[name].batch, options)


if __name__ == "__main__":
    main()
