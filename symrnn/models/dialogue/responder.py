"""Responses of a dialogue model, in plain text: greedy or sampled."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.random import Generator

from symrnn._validate import check_rng, check_whole
from symrnn.models.decoder import SequenceGenerator
from symrnn.models.dialogue.model import DialogueModel
from symrnn.models.sampling import check_drawing
from symrnn.text import DialogueVocabulary, padded_dialogues

BATCH_SIZE = 256


class Responder:
    """Responds to dialogues with a `DialogueModel`.

    Parameters
    ----------
    model
        A `DialogueModel`; its weights may change later, as in training.
    vocabulary
        The vocabulary that it was trained with.
    longest
        A response is cut off after this many tokens.
    most_turns
        How many of the last turns are read. Default: all.
    longest_read
        An utterance of more tokens is an error. Default: `longest`.
    mode
        Compilation mode, see `symrnn.function`; not JAX, which needs to know all shapes.

    Attributes
    ----------
    context
        The compiled function, see `DialogueModel.compile_context`.
    generator
        The `symrnn.models.decoder.SequenceGenerator` of the responses.

    Examples
    --------
    An untrained model's responses: three tokens at most, sampled; the same seed, the same response.

    >>> dialogue = ["Who are you ?", "I am Ann ."]
    >>> vocabulary = DialogueVocabulary.build([dialogue])
    >>> model = DialogueModel(len(vocabulary), 8, 16, rng=np.random.default_rng(1))
    >>> responder = Responder(model, vocabulary, longest=3, longest_read=9)
    >>> a, b = (responder.respond([dialogue], word_rng=np.random.default_rng(2)) for _ in range(2))
    >>> len(a), a == b
    (1, True)
    """

    def __init__(
        self,
        model: DialogueModel,
        vocabulary: DialogueVocabulary,
        *,
        longest: int = 50,
        most_turns: int | None = None,
        longest_read: int | None = None,
        mode: Any = None,
    ) -> None:
        if len(vocabulary) != model.n_tokens:
            raise ValueError(
                f"the vocabulary has {len(vocabulary)} tokens, but the model {model.n_tokens}: "
                "take the one that it was trained with"
            )
        for name, value in (("longest_read", longest_read), ("most_turns", most_turns)):
            if value is not None:
                check_whole(name, value)
        self.model, self.vocabulary, self.most_turns = model, vocabulary, most_turns
        self.longest_read = longest if longest_read is None else longest_read
        unk = vocabulary.vocabulary.unk
        self.generator = SequenceGenerator(
            model.decoder,
            eos=vocabulary.eos,
            longest=longest,
            banned=[] if unk is None else [unk],
            mode=mode,
        )
        self.context = model.compile_context(mode=mode)

    def respond(
        self,
        dialogues: Sequence[Sequence[str]],
        *,
        latent_rng: Generator | None = None,
        word_rng: Generator | None = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
    ) -> list[str]:
        """Return a response to each dialogue.

        Parameters
        ----------
        dialogues
            The utterances so far, at least one each.
        latent_rng
            Source of random numbers to draw z from its prior. Default: the prior's mean.
        word_rng
            Source of random numbers to sample each token. Default: greedy, the most probable one.
        temperature, top_k, top_p
            How to sample tokens, see `symrnn.models.sampling.sampling_probabilities`. They need
            `word_rng`.

        Raises
        ------
        UnknownTokenError
            If a token is unknown, and the vocabulary has no ``<unk>``.
        """
        if isinstance(dialogues, str) or any(isinstance(d, str) for d in dialogues):
            raise TypeError("dialogues must be a list of lists of utterances: [['Hello .']]")
        if latent_rng is not None:
            check_rng(latent_rng, "latent_rng")
            if not self.model.n_latent:
                raise ValueError(
                    "latent_rng draws z, but the model has none: make it with n_latent=8"
                )
        check_drawing(word_rng, self.model.n_tokens, temperature, top_k, top_p, "word_rng")
        last = [d[-self.most_turns :] if self.most_turns else d for d in dialogues]
        ids = self.vocabulary.encode(last, longest=self.longest_read)
        responses: list[str] = []
        for k in range(0, len(ids), BATCH_SIZE):
            batch = padded_dialogues(ids[k : k + BATCH_SIZE], eos=self.vocabulary.eos)
            d, *prior = self.context(*batch)
            if prior:
                mean, log_variance = prior
                scale = np.exp(log_variance / 2)
                z = mean if latent_rng is None else latent_rng.normal(mean, scale)
                d = np.concatenate([d, z], axis=1)
            sequences = self.generator.generate(
                d, rng=word_rng, temperature=temperature, top_k=top_k, top_p=top_p
            )
            responses += [self.vocabulary.text(s) for s in sequences]
        return responses
