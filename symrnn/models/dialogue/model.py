"""Dialogue: a net that reads the utterances so far, turn by turn, and generates a response."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytensor.tensor as pt
from numpy.random import Generator
from pytensor.raise_op import CheckAndRaise
from pytensor.tensor.variable import TensorVariable

from symrnn._validate import check_whole
from symrnn.compiling.function import function
from symrnn.models.decoder import STANDARD_NORMAL, Decoder
from symrnn.models.vae.variational import GaussianLayer, Terms, Variational
from symrnn.nn.cells import Cell, GRUCell
from symrnn.nn.initializers import Initializer
from symrnn.nn.inputs import padding_last
from symrnn.nn.layers import Embedding
from symrnn.nn.recurrent import unroll
from symrnn.training.losses import categorical_cross_entropy, gaussian_kl


class Encoded(NamedTuple):
    """Dialogues as the encoder and the context net see them."""

    utterances: TensorVariable
    """u of each turn, ``(turns, batch, n_hidden)``."""
    contexts: TensorVariable
    """c after each turn, ``(turns, batch, n_hidden)``."""
    valid: TensorVariable
    """Which turns are not padding, ``(turns, batch)``."""


class DialogueModel(Variational):
    """Three models in one: seq2seq, HRED and VHRED.

    With the tokens ``w_n1 ... w_nT`` of the utterances n = 1, 2, ...::

        u_n = last h of encoder(E[w_n1] ... E[w_nT])        each utterance alone
        c_n = context(u_n, c_{n-1})                         their vectors, turn by turn
        c_n = u_n                                           seq2seq: only the last utterance
        d_n = c_n
        d_n = [c_n, z_n]                                    VHRED
        p(w_{n+1} | w_1 ... w_n, z_n)                       by a decoder conditioned on d_n

        p(z_n)           = N(mean, variance of c_n)             prior
        q(z_n | w_{n+1}) = N(mean, variance of [c_n, u_{n+1}])  posterior, which knows the response

    seq2seq: Vinyals and Le, 2015. HRED, the hierarchical recurrent encoder-decoder: Sordoni et al.,
    2015; Serban et al., 2016. VHRED: Serban et al., 2017; it is trained by the ELBO of
    `symrnn.models.vae.variational`, and z_n is which of all possible responses is given. The
    decoder is a `symrnn.models.decoder.Decoder`; encoder, context and decoder are three loops, none
    within another.

    Parameters
    ----------
    n_tokens
        Size of the vocabulary; one of its tokens ends an utterance.
    n_embed, n_hidden
        Embedding size, and hidden units of all cells.
    rng
        Source of the initial weights, and of the draws' seeds.
    context
        False omits the context net, which makes it a seq2seq model.
    n_latent
        Size of z_n. Default: 0, no latent variable; more with a context is VHRED.
    cell
        Makes the cells: a class such as `symrnn.LSTMCell`, or any function
        ``(n_in, n_hidden, *, rng) -> cell``.
    word_dropout
        Fraction of the decoder's inputs that word dropout replaces in training, within [0, 1].
    last_only
        False trains on all utterances but the first, as responses to those before each. True trains
        on the last one of each dialogue alone. Of dialogues that `symrnn.text.dialogue_batches` has
        cut with `most_turns` it is the last one of each segment.
    W_embed
        Initializer of the embedding, from `symrnn.initializers`. Default: N(0, 1).

    Attributes
    ----------
    decoder
        The decoder.

    Examples
    --------
    The first utterance decides the response to the third.

    >>> import numpy as np
    >>> from symrnn.models.dialogue.responder import Responder
    >>> from symrnn.text import DialogueVocabulary, dialogue_batches
    >>> from symrnn.training.optimizers import adam
    >>> dialogues = [[f"I am {name}", "hello", "who am I", name] for name in ("Ann", "Bob")]
    >>> vocabulary = DialogueVocabulary.build(dialogues)
    >>> model = DialogueModel(len(vocabulary), 8, 16, rng=np.random.default_rng(1))
    >>> step = model.compile_training(lambda loss, params: adam(loss, params, 0.02))
    >>> encoded = vocabulary.encode(dialogues)
    >>> (batch,) = dialogue_batches(encoded, batch_size=2, eos=vocabulary.eos)
    >>> losses = [step(*batch)[0] for _ in range(40)]
    >>> Responder(model, vocabulary).respond([dialogue[:3] for dialogue in dialogues])
    ['Ann', 'Bob']
    """

    def __init__(
        self,
        n_tokens: int,
        n_embed: int,
        n_hidden: int,
        *,
        rng: Generator,
        context: bool = True,
        n_latent: int = 0,
        cell: Callable[..., Cell] = GRUCell,
        word_dropout: float = 0.0,
        last_only: bool = False,
        W_embed: Initializer = STANDARD_NORMAL,
    ) -> None:
        super().__init__(rng=rng)
        check_whole("n_latent", n_latent, least=0)
        self.n_tokens, self.n_latent, self.last_only = n_tokens, n_latent, last_only
        self.embedding = Embedding(n_tokens + 2, n_embed, rng=rng, W=W_embed)
        self.encoder = cell(n_embed, n_hidden, rng=rng)
        self.context = cell(n_hidden, n_hidden, rng=rng) if context else None
        self.decoder = Decoder(
            self.embedding,
            n_hidden + n_latent,
            n_hidden,
            rng=rng,
            cell=cell,
            word_dropout=word_dropout,
        )
        if n_latent:
            self.prior = GaussianLayer(n_hidden, n_hidden, n_latent, rng=rng)
            self.posterior = GaussianLayer(2 * n_hidden, n_hidden, n_latent, rng=rng)

    def inputs(self) -> list[TensorVariable]:
        """Return ``[tokens, mask]``, each ``(time, turns, batch)``; int64 and bool."""
        return [pt.ltensor3("tokens"), pt.tensor3("mask", dtype="bool")]

    def encode(self, tokens: Any, mask: Any) -> Encoded:
        """Encode dialogues.

        Parameters
        ----------
        tokens
            Token ids, shape ``(time, turns, batch)``; each utterance with the token that ends it.
        mask
            1 (or True) for a token, 0 for padding, of the same shape. Padding comes last: after the
            tokens of a turn, and after the turns of a dialogue, where the mask is all 0.
        """
        tokens, mask = pt.as_tensor_variable(tokens), pt.as_tensor_variable(mask)
        if tokens.ndim != 3 or mask.ndim != 3:
            raise ValueError(
                f"tokens have {tokens.ndim} axes and the mask {mask.ndim}, but both must have "
                "three: (time, turns, batch); one dialogue alone is tokens[:, :, None]"
            )
        fits = CheckAndRaise(ValueError, "the mask's shape is not that of tokens")
        mask = padding_last(fits(mask, *(pt.eq(mask.shape[k], tokens.shape[k]) for k in range(3))))
        time, turns, batch = tokens.shape
        e = self.embedding(tokens.reshape((time, turns * batch)))
        _, state = unroll(self.encoder, e, mask=mask.reshape((time, turns * batch)))
        u = state[0].reshape((turns, batch, self.encoder.n_hidden))
        valid = padding_last(pt.neq(mask, 0).any(axis=0))
        c = u if self.context is None else unroll(self.context, u, mask=valid)[0]
        return Encoded(u, c, valid)

    def terms(  # type: ignore[override]
        self, tokens: Any, mask: Any, *, epsilon: Any = None, training: bool = False
    ) -> Terms:
        """Return both terms of the ELBO, means over the responses; without z the KL is 0.

        Parameters
        ----------
        tokens, mask
            Token ids and 1 (or True) for each that is not padding, ``(time, turns, batch)``; see
            `encode`.
        epsilon
            Noise that makes z from the posterior, ``(turns - 1, batch, n_latent)``, with
            `last_only` ``(1, batch, n_latent)``. Default: drawn from N(0, I), new at each call of a
            function that `symrnn.function` compiles.
        training
            True applies word dropout.
        """
        tokens, mask = pt.as_tensor_variable(tokens), pt.as_tensor_variable(mask)
        two = CheckAndRaise(ValueError, "there must be at least two turns: one to respond to")
        tokens = two(tokens, pt.ge(tokens.shape[1], 2))
        encoded = self.encode(tokens, mask)
        if self.last_only:
            last, batch = encoded.valid.sum(axis=0) - 1, pt.arange(tokens.shape[2])
            last = two(last, pt.ge(last, 1).all())
            responses, mask = tokens[:, last, batch][:, None], mask[:, last, batch][:, None]
            c, u = encoded.contexts[last - 1, batch][None], encoded.utterances[last, batch][None]
            valid = pt.neq(mask, 0).any(axis=0)
        else:
            responses, mask, valid = tokens[:, 1:], mask[:, 1:], encoded.valid[1:]
            c, u = encoded.contexts[:-1], encoded.utterances[1:]
            any_valid = CheckAndRaise(
                ValueError,
                "no dialogue has a response: at least one must have two turns in the mask",
            )
            mask = any_valid(mask, valid.any())
        longest = pt.neq(mask, 0).any(axis=(1, 2)).sum()
        responses, mask = responses[:longest], mask[:longest]  # first utterances may be longer
        d, kl = c, pt.zeros((), dtype=c.dtype)
        if self.n_latent:
            prior, posterior = self.prior(c), self.posterior(pt.concatenate([c, u], axis=2))
            d = pt.concatenate([c, self._draw(posterior, epsilon)], axis=2)
            kl = gaussian_kl(*posterior, *prior, mask=valid)
        time, turns, batch = responses.shape
        responses, mask = (v.reshape((time, turns * batch)) for v in (responses, mask))
        d = d.reshape((turns * batch, d.shape[2]))
        logits = self.decoder.logits(d, responses, training=training)
        nats = categorical_cross_entropy(logits, responses, mask=mask)
        n_tokens, n_responses = mask.sum().astype(nats.dtype), valid.sum().astype(nats.dtype)
        return Terms(-nats * n_tokens / n_responses, kl)

    def compile_context(self, *, mode: Any = None) -> Any:
        """Compile ``(tokens, mask) -> [c]``, after the last turn of each dialogue, and the prior.

        With z it is ``[c, mean, log_variance]``; c has the shape ``(batch, n_hidden)``. The mask
        must be bool: ``mask.astype(bool)``.
        """
        tokens, mask = self.inputs()
        encoded = self.encode(tokens, mask)
        last = encoded.valid.sum(axis=0) - 1
        c = encoded.contexts[last, pt.arange(last.shape[0])]
        prior: Any = self.prior(c) if self.n_latent else ()
        return function([tokens, mask], [c, *prior], mode=mode)
