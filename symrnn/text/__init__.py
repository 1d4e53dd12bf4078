r"""Text: tokens, vocabularies, corpora, and batches for language models.

From a file to batches, whatever its size:

>>> import tempfile, pathlib
>>> from symrnn import text
>>> folder = tempfile.TemporaryDirectory()
>>> file = pathlib.Path(folder.name) / "song.txt"
>>> _ = file.write_text("You say goodbye and I say hello.\n" * 20)
>>> words = text.Words(lower=True)
>>> vocabulary = text.Vocabulary.build(text.count_tokens(text.read_pieces(file), words))
>>> tokens = text.encode_files(file, words, vocabulary, cache=folder.name)
>>> train, validation, test = text.split(tokens, (0.8, 0.1, 0.1))
>>> for x, t in text.streams(train, batch_size=4, n_steps=16):  # each (time, batch)
...     print(x.shape, t.shape)
(16, 4) (16, 4)
(15, 4) (15, 4)
>>> words.detokenize(vocabulary.decode(x[:8, 0]))
'you say goodbye and i say hello.'
>>> del tokens, train, validation, test
>>> folder.cleanup()

`tokens` lies in a file and is read where it is needed: neither `split` nor `streams` loads it.

Word vectors have modules of their own: `symrnn.text.counting`, `symrnn.text.contexts` (what
`symrnn.models.word2vec` is trained on) and `symrnn.text.word_vectors`.
"""

from symrnn.text.batches import Batch, documents, shuffled_windows, split, streams, windows
from symrnn.text.corpora import (
    count_tokens,
    encode_files,
    python_topics,
    read_pieces,
    read_text,
    text_files,
)
from symrnn.text.dialogue_batches import DialogueBatch, dialogue_batches, padded_dialogues
from symrnn.text.dialogues import DialogueVocabulary, read_dialogues
from symrnn.text.downloads import download
from symrnn.text.padding import padded
from symrnn.text.pair_batches import PairBatch, pair_batches
from symrnn.text.pairs import Pair, PairVocabularies, read_pairs, split_pairs
from symrnn.text.penn_treebank import PennTreebank, penn_treebank
from symrnn.text.tokens import EOS, UNK, Characters, Tokenizer, Words, normalize, tokenizer_from
from symrnn.text.vocabulary import UnknownTokenError, Vocabulary

__all__ = [
    "EOS",
    "UNK",
    "Batch",
    "Characters",
    "DialogueBatch",
    "DialogueVocabulary",
    "Pair",
    "PairBatch",
    "PairVocabularies",
    "PennTreebank",
    "Tokenizer",
    "UnknownTokenError",
    "Vocabulary",
    "Words",
    "count_tokens",
    "dialogue_batches",
    "documents",
    "download",
    "encode_files",
    "normalize",
    "padded",
    "padded_dialogues",
    "pair_batches",
    "penn_treebank",
    "python_topics",
    "read_dialogues",
    "read_pairs",
    "read_pieces",
    "read_text",
    "shuffled_windows",
    "split",
    "split_pairs",
    "streams",
    "text_files",
    "tokenizer_from",
    "windows",
]
