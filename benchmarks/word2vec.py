"""How fast skip-gram with negative sampling trains: symrnn beside gensim, in one run.

    python benchmarks/word2vec.py [--words 30000] [--features 100] [--threads 2] [--rounds 3]

One epoch on a made-up text: random words whose frequencies fall like those of a real text (Zipf),
in sentences of 20; window 5, 5 negative samples, no subsampling, float32. All that an epoch takes
is included: shrinking windows, drawing the pairs and the negatives, updates. Both train on as many
pairs on average, so `pairs/s` compares them; what they compute differs a little:

symrnn    batches of 256 pairs, each target with its own 5 negatives
shared    batches of 256 pairs with 16 negatives for all of them, which count as 5
gensim    one pair after the other, each with its own 5 negatives; as many workers as threads, all
          on the same weights, without locks
gensim-1  the same with one worker

Each peer lives in a process of its own, and only one computes at a time; see recurrent.py. Leave
the machine alone meanwhile.
"""

import argparse
from collections.abc import Callable
from typing import Any

from workers import add_peers, compare, print_head, work

WINDOW, K, BATCH, SHARED, LEARNING_RATE = 5, 5, 256, 16, 0.025
PER_SENTENCE = 20
PEERS: dict[str, Callable[[], Any]] = {}


def text(n_words: int, n_tokens: int) -> Any:
    """Return the token ids of a text, the same in every process, ``(sentences, 20)``."""
    import numpy as np

    share = 1 / np.arange(1, n_words + 1)
    rng = np.random.default_rng(1)
    shape = n_tokens // PER_SENTENCE, PER_SENTENCE
    return rng.choice(n_words, shape, p=share / share.sum())


def n_pairs(n_tokens: int) -> float:
    """How many pairs an epoch has on average: reaches of 1 ... WINDOW are equally likely."""
    d = range(1, WINDOW + 1)
    a_sentence = sum(2 * (PER_SENTENCE - k) * (WINDOW + 1 - k) / WINDOW for k in d)
    return n_tokens / PER_SENTENCE * a_sentence


def symrnn_peer(shared: bool = False) -> Callable[..., Callable[[], float]]:
    """`SkipGram` in mode NUMBA."""
    import numpy as np
    import pytensor

    import symrnn as sr
    from symrnn.text.alias_sampler import AliasSampler
    from symrnn.text.contexts import skip_gram_batches

    pytensor.config.floatX = "float32"

    def make(n_words: int, n_features: int, n_tokens: int) -> Callable[[], float]:
        rng = np.random.default_rng(1)
        sentences = text(n_words, n_tokens)
        end = np.full((len(sentences), 1), n_words)
        tokens = np.concatenate([sentences, end], axis=1).ravel()
        model = sr.SkipGram(n_words + 1, n_features, rng=rng)
        noise = AliasSampler(np.bincount(sentences.ravel()) ** 0.75)
        train = model.compile_negative_sampling(
            LEARNING_RATE * BATCH, k=K if shared else None, mode="NUMBA"
        )

        def epoch() -> float:
            for words, contexts in skip_gram_batches(
                tokens, window=WINDOW, batch_size=BATCH, rng=rng, end=n_words
            ):
                shape = SHARED if shared else (len(words), K)
                loss = train(words, contexts, noise.draw(shape, rng=rng))
            return float(loss)

        return epoch

    return make


def gensim_peer(workers: int | None = None) -> Callable[..., Callable[[], float]]:
    """Make `Word2Vec` of gensim; default: with as many workers as threads."""
    import os

    from gensim.models import Word2Vec

    def make(n_words: int, n_features: int, n_tokens: int) -> Callable[[], float]:
        sentences = [list(map(str, row)) for row in text(n_words, n_tokens).tolist()]
        model = Word2Vec(
            vector_size=n_features, window=WINDOW, min_count=1, sg=1, negative=K, sample=0,
            alpha=LEARNING_RATE, min_alpha=LEARNING_RATE, seed=1,
            workers=workers or int(os.environ["OMP_NUM_THREADS"]),
        )  # fmt: skip
        model.build_vocab(sentences)

        def epoch() -> float:
            model.train(sentences, total_examples=len(sentences), epochs=1)
            return 0.0

        return epoch

    return make


PEERS |= {
    "symrnn": symrnn_peer,
    "shared": lambda: symrnn_peer(shared=True),
    "gensim": gensim_peer,
    "gensim-1": lambda: gensim_peer(workers=1),
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--words", nargs="+", type=int, default=[1000, 30_000], help="sizes of the vocabulary")
    add("--features", type=int, default=100, help="length of the vectors")
    add("--tokens", type=int, default=50_000, help="length of the text")
    add_peers(parser, PEERS)
    parser.set_defaults(rounds=3)
    options = parser.parse_args()
    if options.worker:
        work(PEERS[options.worker], options.threads)
        return
    print_head(options, "words, features", "pairs/s")
    for n_words in options.words:
        sizes = n_words, options.features, options.tokens
        label = f"{n_words}, {options.features}"
        compare(__file__, label, sizes, round(n_pairs(options.tokens)), options)


if __name__ == "__main__":
    main()
