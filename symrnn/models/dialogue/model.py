"""Dialogue: a net that reads what was said, turn by turn, and replies."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytensor
import pytensor.tensor as pt
from numpy.random import Generator
from pytensor.raise_op import CheckAndRaise
from pytensor.tensor.variable import TensorVariable

from symrnn.compiling.modes import QUICK
from symrnn.models.decoder import Decoder
from symrnn.models.seq2seq.model import LARGE
from symrnn.models.vae.variational import GaussianLayer, Terms, Variational
from symrnn.nn.cells import Cell, GRUCell
from symrnn.nn.initializers import Initializer
from symrnn.nn.inputs import padding_last
from symrnn.nn.layers import Embedding
from symrnn.nn.random import Noise
from symrnn.nn.recurrent import unroll
from symrnn.training.losses import categorical_cross_entropy, gaussian_kl


class Read(NamedTuple):
    """What was read of dialogues."""

    utterances: TensorVariable
    """u of each turn, ``(turns, batch, n_hidden)``."""
    contexts: TensorVariable
    """c after each turn, ``(turns, batch, n_context)``."""
    there: TensorVariable
    """Which turns there are, ``(turns, batch)``."""


class DialogueModel(Variational):
    """Three models in one: seq2seq, HRED and VHRED.

    With the words ``w_n1 ... w_nT`` of the utterances n = 1, 2, ...::

        u_n = last h of encoder(E[w_n1] ... E[w_nT])        reads each utterance by itself
        c_n = context(u_n, c_{n-1})                         reads their vectors, turn by turn
        c_n = u_n                                           seq2seq: knows the last utterance alone
        d_n = c_n
        d_n = [c_n, z_n]                                    VHRED
        p(w_{n+1} | w_1 ... w_n, z_n)                       by a decoder that is given d_n

        p(z_n)           = N(mean, variance of c_n)             prior
        q(z_n | w_{n+1}) = N(mean, variance of [c_n, u_{n+1}])  posterior, which has read the reply

    seq2seq: Vinyals and Le, 2015. HRED, the hierarchical recurrent encoder-decoder: Sordoni et al.,
    2015; Serban et al., 2016. VHRED: Serban et al., 2017; it is trained by the bound of
    `symrnn.models.vae.variational`, and z_n is what the reply says of all that it could say.

    The decoder is that of
    `symrnn.models.decoder`; encoder, context and decoder are three loops, none within another.

    Parameters
    ----------
    n_tokens
        Size of the vocabulary; one of its tokens ends an utterance.
    n_embed, n_hidden
        Length of a token's vector, and units of all cells.
    rng
        Source of the initial weights, and of the draws' seeds.
    context
        False leaves the context out, which makes it a seq2seq.
    n_latent
        Length of z_n. Default: 0, there is none; more with a context is VHRED.
    cell
        Makes the cells: a class such as `symrnn.nn.cells.LSTMCell`, or any function
        ``(n_in, n_hidden, rng, name=...) -> cell``.
    word_drop
        Which part of the reply's words the decoder is not shown in training, within [0, 1].
    last_only
        False learns from all utterances but the first, as replies to what was said before each.
        True learns from the last one of each dialogue alone. Of dialogues that
        `symrnn.text.dialogue_batches` has cut with `most_turns` it is the last one of each piece.
    W_embed
        Makes the first vectors of the tokens, from `symrnn.nn.initializers`. Default: N(0, 1).

    Attributes
    ----------
    params
        All weights, in order.
    decoder
        The decoder.
    noise
        Source of the draws.

    Raises
    ------
    ValueError
        If a size is out of range.

    Examples
    --------
    What was said first decides the reply to the third utterance.

    >>> import numpy as np
    >>> from symrnn.compiling.modes import QUICK
    >>> from symrnn.models.dialogue.responder import Replier
    >>> from symrnn.text import DialogueVocabulary, dialogue_batches
    >>> from symrnn.training.optimizers import adam
    >>> dialogues = [[f"I am {name}", "hello", "who am I", name] for name in ("Ann", "Bob")]
    >>> words = DialogueVocabulary.build(dialogues)
    >>> model = DialogueModel(len(words), 8, 16, np.random.default_rng(1))
    >>> step = model.compile_training(lambda loss, params: adam(loss, params, 0.02), QUICK)
    >>> (batch,) = dialogue_batches(words.encode(dialogues), batch_size=2, eos=words.eos)
    >>> losses = [step(*batch)[0] for _ in range(40)]
    >>> Replier(model, words, QUICK).reply([dialogue[:3] for dialogue in dialogues])
    ['Ann', 'Bob']
    """

    def __init__(
        self,
        n_tokens: int,
        n_embed: int,
        n_hidden: int,
        rng: Generator,
        context: bool = True,
        n_latent: int = 0,
        cell: Callable[..., Cell] = GRUCell,
        word_drop: float = 0.0,
        last_only: bool = False,
        W_embed: Initializer = LARGE,
    ) -> None:
        if n_latent < 0:
            raise ValueError(f"n_latent is {n_latent}, but must be 0 (no z) or more")
        self.n_tokens, self.n_latent, self.last_only = n_tokens, n_latent, last_only
        self.noise = Noise(rng)
        self.embedding = Embedding(n_tokens + 2, n_embed, rng=rng, W=W_embed)
        self.encoder = cell(n_embed, n_hidden, rng, name="encoder")
        self.context = cell(n_hidden, n_hidden, rng, name="context") if context else None
        self.decoder = Decoder(
            self.embedding, n_hidden + n_latent, n_hidden, rng, self.noise, cell, word_drop
        )
        parts: list[Any] = [self.embedding, self.encoder, self.context, self.decoder]
        if n_latent:
            self.prior = GaussianLayer(n_hidden, n_hidden, n_latent, rng, "prior")
            self.posterior = GaussianLayer(2 * n_hidden, n_hidden, n_latent, rng, "posterior")
            parts += [self.prior, self.posterior]
        self.params = [p for part in parts if part is not None for p in part.params]

    def inputs(self) -> list[TensorVariable]:
        """Return ``[words, mask]``, each ``(time, turns, batch)``; int64 and bool."""
        return [pt.ltensor3("words"), pt.tensor3("mask", dtype="bool")]

    def read(self, words: Any, mask: Any) -> Read:
        """Read dialogues.

        Parameters
        ----------
        words
            Tokens, shape ``(time, turns, batch)``, integers; each utterance with the token that
            ends it.
        mask
            1 (or True) for a token, 0 for padding, of the same shape. Padding comes last: after the
            tokens of a turn, and after the turns of a dialogue. A turn that is not there has none
            but zeros.

        Raises
        ------
        ValueError
            If the arrays do not have three axes; when the function is called: if their shapes are
            not the same, or padding does not come last.
        """
        words, mask = pt.as_tensor_variable(words), pt.as_tensor_variable(mask)
        if words.ndim != 3 or mask.ndim != 3:
            raise ValueError(
                f"words have {words.ndim} axes and the mask {mask.ndim}, but both must have three: "
                "(time, turns, batch); one dialogue alone is words[:, :, None]"
            )
        fits = CheckAndRaise(ValueError, "the mask's shape is not that of words")
        mask = padding_last(fits(mask, *(pt.eq(mask.shape[k], words.shape[k]) for k in range(3))))
        time, turns, batch = words.shape
        e = self.embedding(words.reshape((time, turns * batch)))
        _, state = unroll(self.encoder, e, mask=mask.reshape((time, turns * batch)))
        u = state[0].reshape((turns, batch, self.encoder.n_hidden))
        there = padding_last(pt.neq(mask, 0).any(axis=0))
        c = u if self.context is None else unroll(self.context, u, mask=there)[0]
        return Read(u, c, there)

    def terms(  # type: ignore[override]
        self, words: Any, mask: Any, epsilon: Any = None, training: bool = False
    ) -> Terms:
        """Return the parts of the bound, means over the replies; see `Variational.terms`.

        epsilon has the shape ``(turns - 1, batch, n_latent)``, ``(1, batch, n_latent)`` if only the
        last replies are learnt from. Without z the KL divergence is 0.

        Raises
        ------
        ValueError
            As `read`; when the function is called: if there are less than two turns, in all of the
            dialogues; with `last_only`, in any of them.
        """
        words, mask = pt.as_tensor_variable(words), pt.as_tensor_variable(mask)
        two = CheckAndRaise(ValueError, "there must be at least two turns: one to reply to")
        words = two(words, pt.ge(words.shape[1], 2))
        read = self.read(words, mask)
        if self.last_only:
            last, batch = read.there.sum(axis=0) - 1, pt.arange(words.shape[2])
            last = two(last, pt.ge(last, 1).all())
            replies, mask = words[:, last, batch][:, None], mask[:, last, batch][:, None]
            c, u = read.contexts[last - 1, batch][None], read.utterances[last, batch][None]
            there = pt.neq(mask, 0).any(axis=0)
        else:
            replies, mask, there = words[:, 1:], mask[:, 1:], read.there[1:]
            c, u = read.contexts[:-1], read.utterances[1:]
            replied = CheckAndRaise(
                ValueError, "no dialogue has a reply: at least one must have two turns in the mask"
            )
            mask = replied(mask, there.any())
        longest = pt.neq(mask, 0).any(axis=(1, 2)).sum()
        replies, mask = replies[:longest], mask[:longest]  # questions may be longer
        d, kl = c, pt.zeros((), dtype=c.dtype)
        if self.n_latent:
            prior, q = self.prior(c), self.posterior(pt.concatenate([c, u], axis=2))
            d = pt.concatenate([c, q.at(self._epsilon(epsilon, q.mean))], axis=2)
            kl = gaussian_kl(*q, *prior, mask=there)
        time, turns, batch = replies.shape
        replies, mask = (v.reshape((time, turns * batch)) for v in (replies, mask))
        z = self.decoder.logits(d.reshape((turns * batch, d.shape[2])), replies, training)
        nats = categorical_cross_entropy(z, replies, mask=mask)
        n_words, n_replies = mask.sum().astype(nats.dtype), there.sum().astype(nats.dtype)
        return Terms(-nats * n_words / n_replies, kl)

    def compile_context(self, mode: Any = QUICK) -> Any:
        """Compile ``(words, mask) -> [c]``, after the last turn of each dialogue, and the prior.

        With z it is ``[c, mean, log_variance]``; c has the shape ``(batch, n_hidden)``. The mask
        must be bool: ``mask.astype(bool)``.
        """
        words, mask = self.inputs()
        read = self.read(words, mask)
        last = read.there.sum(axis=0) - 1
        c = read.contexts[last, pt.arange(last.shape[0])]
        prior: Any = self.prior(c) if self.n_latent else ()
        return pytensor.function([words, mask], [c, *prior], mode=mode)
