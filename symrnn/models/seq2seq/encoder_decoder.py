"""What all sequence-to-sequence models share: the loss, and the functions that are compiled."""

from collections.abc import Sequence
from typing import Any

import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from symrnn.compiling.function import function
from symrnn.nn.module import Module
from symrnn.training.losses import categorical_cross_entropy
from symrnn.training.optimizers import Optimizer

Shape = tuple[int | None, int | None]
ANY: Shape = (None, None)


class EncoderDecoder(Module):
    """Base of the models that read a source and write a target.

    A subclass sets `n_source`, `n_target` and `decoder_inputs`, and has `encode`, `logits` and
    `step`. Everything else is written here, once.

    Attributes
    ----------
    n_source, n_target
        Sizes of the vocabularies.
    n_positions : int or None
        The most tokens that can be read and written, if there is an end.
    decoder_inputs : list of str
        Names of what the decoder needs of a source at each step.
    """

    n_source: int
    n_target: int
    n_positions: int | None = None
    decoder_inputs: list[str]

    @property
    def start(self) -> int:
        """Id of the start token, the previous output token of the first step: `n_target`."""
        return self.n_target

    @property
    def has_attention(self) -> bool:
        """Whether a step returns weights of the source positions."""
        raise NotImplementedError

    def encode(self, source: Any, mask: Any, *, training: bool = False) -> Any:
        """Read a batch of sources; return what the decoder needs, its initial states included."""
        raise NotImplementedError

    def logits(self, encoded: Any, target: Any, *, training: bool = False) -> TensorVariable:
        """Return the logits of all steps, ``(steps, batch, n_target)``."""
        raise NotImplementedError

    def step(
        self, tokens: Any, states: Sequence[Any], encoded: Any
    ) -> tuple[TensorVariable, TensorVariable | None, list[Any]]:
        """Return logits, attention weights and the next states."""
        raise NotImplementedError

    def previous_tokens(self, target: TensorVariable) -> TensorVariable:
        """Return the previous output token of each step, as it should be: the decoder's input."""
        return pt.concatenate([pt.full_like(target[:1], self.start), target[:-1]])

    def loss(
        self,
        source: Any,
        source_mask: Any,
        target: Any,
        target_mask: Any,
        *,
        training: bool = False,
        **options: Any,
    ) -> TensorVariable:
        """Return the mean cross-entropy of all tokens of the targets, in nats.

        Parameters
        ----------
        source
            Token ids, shape ``(positions, batch)``, integers.
        source_mask
            1 (or True) for a token, 0 for padding after it, of the same shape.
        target
            Token ids, each target with the token that ends it, shape ``(steps, batch)``.
        target_mask
            1 for a token, 0 for padding after it, of the same shape.
        training
            True applies dropout.
        options
            Whatever else the model's `logits` takes, such as `sampling_probability`.
        """
        encoded = self.encode(source, source_mask, training=training)
        logits = self.logits(encoded, target, training=training, **options)
        loss = categorical_cross_entropy(logits, target, mask=target_mask)
        loss.name = "loss"
        return loss

    def compile_training(self, optimizer: Optimizer, *, mode: Any = None, **options: Any) -> Any:
        """Compile a training step.

        Parameters
        ----------
        optimizer
            A function ``(loss, params) -> updates``, for example
            ``lambda loss, params: adam(loss, params, 0.003)``.
        mode
            As for `symrnn.function`, but not JAX, which needs to know all shapes.
        options
            Whatever else the model's `logits` takes: for `symrnn.Seq2Seq` a `sampling_probability`,
            which, as a shared variable, may change during training.

        Returns
        -------
        function
            ``(source, source_mask, target, target_mask) -> loss``, before the update: int64 and
            bool arrays (``mask == 1`` makes one of numbers), each ``(time, batch)``, such as
            `symrnn.text.pair_batches` returns.
        """
        batch = pair_variables()
        loss = self.loss(*batch, training=True, **options)
        return function([*batch], loss, updates=optimizer(loss, self.params), mode=mode)

    def compile_loss(self, *, mode: Any = None) -> Any:
        """Compile ``(source, source_mask, target, target_mask) -> loss`` without dropout.

        Parameters
        ----------
        mode
            As for `symrnn.function`.
        """
        batch = pair_variables()
        return function([*batch], self.loss(*batch), mode=mode)

    def compile_encoder(self, *, mode: Any = None, source_shape: Shape = ANY) -> Any:
        """Compile ``(source, source_mask) -> [*decoder_inputs, *states]``.

        Parameters
        ----------
        mode
            As for `symrnn.function`.
        source_shape
            Shape of the sources, ``(positions, batch)``, which mode JAX needs to know.

        Returns
        -------
        function
            Source and mask are arrays ``(positions, batch)``, int64 and bool. The results are those
            that the attribute `decoder_inputs` names, in its order, and the decoder's initial
            states.
        """
        source, mask, *_ = pair_variables(source_shape)
        encoded = self.encode(source, mask)
        outputs = [*self._get_inputs(encoded), *self._state_arrays(encoded.states)]
        return function([source, mask], outputs, mode=mode)

    def compile_step(self, *, mode: Any = None, source_shape: Shape = ANY) -> Any:
        """Compile one step of the decoder at inference.

        Parameters
        ----------
        mode
            As for `symrnn.function`.
        source_shape
            Shape of the sources, ``(positions, batch)``, which mode JAX needs to know.

        Returns
        -------
        function
            ``(tokens, *decoder_inputs, *states) -> [log_p, weights, *states]``: the previous output
            tokens ``(batch,)``, int64, at first `start`; the results of the compiled encoder, after
            the first step with the states of the step before; log_p ``(batch, n_target)``,
            the log probability of each token; and weights of the source positions
            ``(batch, positions)``, which a model without attention leaves out.
        """
        tokens = pt.tensor("tokens", dtype="int64", shape=source_shape[1:])
        source, mask, *_ = pair_variables(source_shape)
        encoded = self.encode(source, mask)  # for the types of its variables
        named = zip(self.decoder_inputs, self._get_inputs(encoded), strict=True)
        inputs = [v.type(name) for name, v in named]
        arrays, states = self._state_inputs(source_shape[1])
        logits, weights, after = self.step(tokens, states, self._set_inputs(encoded, inputs))
        log_p = pt.special.log_softmax(logits, axis=-1)
        outputs = [log_p, *([] if weights is None else [weights]), *self._state_arrays(after)]
        return function([tokens, *inputs, *arrays], outputs, mode=mode)

    def _get_inputs(self, encoded: Any) -> list[TensorVariable]:
        """Those of the `decoder_inputs`, in order."""
        return [getattr(encoded, name) for name in self.decoder_inputs]

    def _set_inputs(self, encoded: Any, inputs: Sequence[TensorVariable]) -> Any:
        """What was encoded, with other decoder inputs."""
        return encoded._replace(**dict(zip(self.decoder_inputs, inputs, strict=True)))

    def _state_inputs(self, batch: int | None) -> tuple[list[TensorVariable], list[Any]]:
        """Inputs of the compiled step, and the states that `step` takes, made of them."""
        raise NotImplementedError

    def _state_arrays(self, states: Sequence[Any]) -> list[TensorVariable]:
        """The arrays of states as the compiled functions return them, the batch first."""
        raise NotImplementedError


def pair_variables(
    shape: Shape = ANY,
) -> tuple[TensorVariable, TensorVariable, TensorVariable, TensorVariable]:
    """Return variables for a batch of pairs: source, its mask, target, and the mask of that.

    All are ``(time, batch)``, int64 and bool; `shape` is that of the source, as far as known.
    """
    return (
        pt.tensor("source", dtype="int64", shape=shape),
        pt.tensor("source_mask", dtype="bool", shape=shape),
        pt.lmatrix("target"), pt.matrix("target_mask", dtype="bool"),
    )  # fmt: skip
