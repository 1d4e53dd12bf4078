"""The command line, ``python -m symrnn lm`` and ``seq2seq``: a file for each command."""
