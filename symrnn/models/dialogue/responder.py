"""Replies of a dialogue model: greedy or drawn, in plain text."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.random import Generator

from symrnn._validate import check_whole
from symrnn.compiling.modes import QUICK
from symrnn.models.decoder import Writer
from symrnn.models.dialogue.model import DialogueModel
from symrnn.models.sampling import check_drawing
from symrnn.text import DialogueVocabulary, padded_dialogues

TOGETHER = 256
"""So many dialogues are read side by side."""


class Replier:
    """Lets a `DialogueModel` reply.

    Parameters
    ----------
    model
        A `DialogueModel`; its weights may change later, as in training.
    words
        The vocabulary that it was trained with.
    mode
        As for `pytensor.function`, but not its default; not JAX, which needs to know all shapes.
    longest
        A reply is cut off after so many tokens.
    most_turns
        How many of the last turns are read. Default: all.
    longest_read
        An utterance of more tokens is refused. Default: as `longest`.

    Attributes
    ----------
    read
        The compiled function, see `DialogueModel.compile_context`.
    writer
        The `symrnn.models.decoder.Writer` of the replies.

    Raises
    ------
    ValueError
        If the vocabulary does not have as many tokens as the model, or a number is below 1.

    Examples
    --------
    See `DialogueModel`.
    """

    def __init__(
        self,
        model: DialogueModel,
        words: DialogueVocabulary,
        mode: Any = QUICK,
        longest: int = 50,
        most_turns: int | None = None,
        longest_read: int | None = None,
    ) -> None:
        if len(words) != model.n_tokens:
            raise ValueError(
                f"the vocabulary has {len(words)} tokens, but the model {model.n_tokens}: take the "
                "one that it was trained with"
            )
        for name, value in (("longest_read", longest_read), ("most_turns", most_turns)):
            if value is not None:
                check_whole(name, value)
        unk = words.vocabulary.unk
        self.model, self.words, self.most_turns = model, words, most_turns
        self.longest_read = longest if longest_read is None else longest_read
        self.writer = Writer(model.decoder, words.eos, mode, longest, [] if unk is None else [unk])
        self.read = model.compile_context(mode)

    def reply(
        self,
        dialogues: Sequence[Sequence[str]],
        latent_rng: Generator | None = None,
        word_rng: Generator | None = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
    ) -> list[str]:
        """Return a reply to each dialogue.

        Parameters
        ----------
        dialogues
            What was said, at least one utterance each.
        latent_rng
            Source of random numbers to draw z from its prior. Default: the prior's mean.
        word_rng
            Source of random numbers to draw each word. Default: greedy, the most probable one.
        temperature, top_k, top_p
            How to draw words, see `symrnn.models.sampling`. They need `word_rng`.

        Raises
        ------
        TypeError, ValueError
            If something is not as said; a dialogue or an utterance is empty, or too long; there
            is a `latent_rng`, but no z.
        UnknownTokenError
            If a token is unknown, and the vocabulary has no ``<unk>``.
        """
        if isinstance(dialogues, str) or any(isinstance(d, str) for d in dialogues):
            raise TypeError("dialogues must be a list of lists of utterances: [['Hello .']]")
        if latent_rng is not None and not isinstance(latent_rng, Generator):
            raise TypeError(f"latent_rng is {latent_rng!r}, and not numpy.random.default_rng(1)")
        if latent_rng is not None and not self.model.n_latent:
            raise ValueError("latent_rng draws z, but the model has none: make it with n_latent=8")
        check_drawing(word_rng, self.model.n_tokens, temperature, top_k, top_p, "word_rng")
        kept = [d[-self.most_turns :] if self.most_turns else d for d in dialogues]
        ids = self.words.encode(kept, longest=self.longest_read)
        replies: list[str] = []
        for k in range(0, len(ids), TOGETHER):
            batch = padded_dialogues(ids[k : k + TOGETHER], eos=self.words.eos)
            d, *prior = self.read(*batch)
            if prior:
                mean, log_variance = prior
                scale = np.exp(log_variance / 2)
                z = mean if latent_rng is None else latent_rng.normal(mean, scale)
                d = np.concatenate([d, z], axis=1)
            said = self.writer.write(d, word_rng, temperature, top_k, top_p)
            replies += [self.words.text(i) for i in said]
        return replies
