"""Cells: what a recurrent net does at one time step; `Cell` says how to write one of your own."""

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar, NamedTuple, TypedDict, Unpack

import numpy as np
import pytensor.tensor as pt
from numpy.typing import ArrayLike
from pytensor.tensor.variable import TensorVariable

from symrnn._validate import check_choice, check_sizes
from symrnn.compiling.shapes import of_shape
from symrnn.nn.initializers import Array, Initializer, Random, identity, orthogonal, xavier_uniform
from symrnn.nn.module import Module, parameter

Gates = tuple[TensorVariable, ...]


class HiddenState(NamedTuple):
    """State of a cell that remembers nothing but its output."""

    h: Any


class LSTMState(NamedTuple):
    """State of an `LSTMCell`: its output h and its cell state c."""

    h: Any
    c: Any


class CellOptions(TypedDict, total=False):
    """What every cell takes besides its sizes; see `Cell`."""

    rng: Random | None
    W_x: Initializer | ArrayLike | None
    W_h: Initializer | ArrayLike | None
    bias: bool


class Cell(Module):
    """Base class of cells: weights, an initial state of zeros, the projection of the input.

    A cell of your own is a subclass with

    - ``n_gates``: how many arrays a step gets from its input, for example 4 for an LSTM;
    - ``State``: a named tuple of its states, whose first field is the output h;
    - ``step(self, z, *state)``: it returns the new `State`. z is a tuple of `n_gates` arrays, the
      parts of ``z_t = x_t W_x + b + h_{t-1} W_h``; they and the states are ``(batch, n_hidden)``.

    Vectors ``(n_hidden,)`` of its own, such as peephole weights, are attributes that
    `symrnn.parameter` makes. As long as `step` consists of elementwise operations, `symrnn.unroll`
    gives it a fast backward pass.

    A class may also say

    - ``elementwise = False``: `step` has another product or a mean over units, and is trained by
      the scan's own gradient, which is slower;
    - ``additive = False``: a gate needs the parts of input and state separately; then it is
      ``step(self, zx, zh, *state)`` with ``zx = x_t W_x + b`` and ``zh = h_{t-1} W_h``;
    - ``n_recurrent_gates``: how many arrays zh has, if not `n_gates`;
    - ``update_mask(shape)``: for each state None, or which entries a step may change.

    Parameters
    ----------
    n_in, n_hidden
        Sizes of ``x_t`` and ``h_t``.
    rng
        NumPy generator that draws the initial weights, ``np.random.default_rng(seed)``; not needed
        if W_x and W_h are arrays.
    W_x
        Initializer (for each gate) or array of shape ``(n_in, n_gates * n_hidden)``. Default:
        `symrnn.initializers.xavier_uniform`.
    W_h
        Initializer (for each gate) or array of shape ``(n_hidden, n_gates * n_hidden)``. Default:
        `symrnn.initializers.orthogonal`.
    bias
        False omits b. It starts at 0 unless the cell sets another value.

    Examples
    --------
    A cell with two gates, and a learned speed for each unit:

    >>> class LeakyCell(Cell):
    ...     n_gates = 2
    ...     State = HiddenState
    ...
    ...     def __init__(self, n_in, n_hidden, **options):
    ...         super().__init__(n_in, n_hidden, **options)
    ...         self.speed = parameter("speed", (n_hidden,), np.ones(n_hidden))
    ...
    ...     def step(self, z, h):
    ...         a, g = z
    ...         u = pt.sigmoid(self.speed * a)
    ...         return HiddenState(u * h + (1 - u) * pt.tanh(g))
    >>> LeakyCell(3, 5, rng=np.random.default_rng(1))
    LeakyCell: 95 weights
      W_x (3, 10)
      W_h (5, 10)
      b (10,)
      speed (5,)
    """

    n_gates: int
    State: Callable[..., Any]
    additive: ClassVar[bool] = True
    elementwise: bool = True
    W_h_default: ClassVar[Any] = staticmethod(orthogonal)

    def __init_subclass__(cls) -> None:
        """Let ``help(cls)`` show all options by name, those of `Cell` too."""
        own = list(inspect.signature(cls.__init__).parameters.values())[1:]
        common = list(inspect.signature(Cell.__init__).parameters.values())[3:]
        if own and own[-1].kind is inspect.Parameter.VAR_KEYWORD:
            own[-1:] = [option for option in common if option.name not in {p.name for p in own}]
        plain = [p.replace(annotation=inspect.Parameter.empty) for p in own]
        cls.__signature__ = inspect.Signature(plain)  # type: ignore[attr-defined]

    def __init__(
        self,
        n_in: int,
        n_hidden: int,
        *,
        rng: Random | None = None,
        W_x: Initializer | ArrayLike | None = None,
        W_h: Initializer | ArrayLike | None = None,
        bias: bool = True,
    ) -> None:
        missing = [line for line in ("n_gates", "State") if not hasattr(self, line)]
        if missing:
            raise TypeError(
                f"the class {type(self).__name__} must have {' and '.join(missing)}, for example "
                "n_gates = 1 and State = HiddenState"
            )
        check_sizes(n_in=n_in, n_hidden=n_hidden)
        W_x = xavier_uniform if W_x is None else W_x
        W_h = self.W_h_default if W_h is None else W_h
        self.n_in, self.n_hidden = n_in, n_hidden
        self.n_recurrent_gates = self.n_gates
        width = self.n_gates * n_hidden
        self.W_x = parameter("W_x", (n_in, width), self._each_gate(W_x), rng=rng)
        self.W_h = parameter("W_h", (n_hidden, width), self._each_gate(W_h), rng=rng)
        self.b = parameter("b", (width,), np.zeros(width)) if bias else None

    def _each_gate(self, initial: Initializer | ArrayLike) -> Initializer | ArrayLike:
        """Draw the weights of each gate separately, so that their scale is that of one gate."""
        if not callable(initial):
            return initial

        def gate_by_gate(rng: Random, shape: Sequence[int]) -> Array:
            one = (shape[0], shape[1] // self.n_gates)
            return np.concatenate([initial(rng, one) for _ in range(self.n_gates)], axis=1)

        return gate_by_gate

    def initial_state(self, batch_size: Any) -> Any:
        """Zeros of shape ``(batch, n_hidden)``, of the weights' dtype."""
        zeros = of_shape(partial(pt.zeros, dtype=self.W_h.dtype), (batch_size, self.W_h.shape[0]))
        return self.State(*(zeros for _ in self.State._fields))  # type: ignore[attr-defined]

    def project(self, x: TensorVariable) -> TensorVariable:
        """Return ``x W_x + b``, shape ``(time, batch, n_gates * n_hidden)``."""
        time, batch, features = x.shape
        z = x.reshape((time * batch, features)) @ self.W_x
        if self.b is not None:
            z = z + self.b
        return z.reshape((time, batch, self.W_x.shape[1]))

    def update_mask(self, shape: Sequence[Any]) -> list[TensorVariable | None]:
        """For each array of the state, which entries a step may change: None is all of them."""
        return [None] * len(self.State._fields)  # type: ignore[attr-defined]

    def step(self, *gates_and_state: Any) -> Any:
        """Return the new state from the gates z and the old state, each ``(batch, n_hidden)``."""
        raise NotImplementedError(f"{type(self).__name__} needs a step(self, z, *state)")


class LinearCell(Cell):
    """A linear recurrence, without gates and without a squashing function.

    ``h_t = x_t W_x + h_{t-1} W_h + b``

    `W_h` starts as the identity, so h is at first the running sum of ``x_t W_x``.

    Parameters
    ----------
    n_in, n_hidden
        Sizes of ``x_t`` and ``h_t``.
    rng
        NumPy generator that draws the initial weights, ``np.random.default_rng(seed)``; not needed
        if W_x and W_h are arrays.
    W_x
        Initializer (for each gate) or array of shape ``(n_in, n_hidden)``. Default:
        `symrnn.initializers.xavier_uniform`.
    W_h
        Initializer (for each gate) or array of shape ``(n_hidden, n_hidden)``. Default:
        `symrnn.initializers.identity`.
    bias
        False omits b. It starts at 0.

    Examples
    --------
    A cell that counts: one input, one hidden unit, both weights 1.

    >>> cell = LinearCell(1, 1, W_x=[[1.0]], W_h=[[1.0]], bias=False)
    >>> [(w.name, w.get_value().tolist()) for w in cell.params]
    [('W_x', [[1.0]]), ('W_h', [[1.0]])]
    """

    n_gates = 1
    State = HiddenState
    W_h_default = staticmethod(identity)

    def step(self, z: Gates, h: TensorVariable) -> HiddenState:
        """Return the new state, shape ``(batch, n_hidden)``: the sum z itself."""
        (z_h,) = z
        return HiddenState(z_h)


def relu(x: TensorVariable) -> TensorVariable:
    """``max(x, 0)``."""
    return pt.maximum(x, 0)


def linear(x: TensorVariable) -> TensorVariable:
    """``x`` itself."""
    return x


ACTIVATIONS: dict[str, Callable[[TensorVariable], TensorVariable]] = {
    "tanh": pt.tanh,
    "relu": relu,
    "sigmoid": pt.sigmoid,
    "identity": linear,
}


class ElmanCell(Cell):
    """The simple recurrent net (Elman, 1990).

    ``h_t = phi(x_t W_x + h_{t-1} W_h + b)``

    Parameters
    ----------
    n_in, n_hidden
        Sizes of ``x_t`` and ``h_t``.
    activation
        phi: ``"tanh"``, ``"relu"``, ``"sigmoid"`` or ``"identity"``.
    rng
        NumPy generator that draws the initial weights, ``np.random.default_rng(seed)``; not needed
        if W_x and W_h are arrays.
    W_x
        Initializer (for each gate) or array of shape ``(n_in, n_hidden)``. Default:
        `symrnn.initializers.xavier_uniform`.
    W_h
        Initializer (for each gate) or array of shape ``(n_hidden, n_hidden)``. Default:
        `symrnn.initializers.orthogonal`.
    bias
        False omits b. It starts at 0.

    Examples
    --------
    >>> ElmanCell(3, 5, rng=np.random.default_rng(1), activation="relu")
    ElmanCell: 45 weights
      W_x (3, 5)
      W_h (5, 5)
      b (5,)
    """

    n_gates = 1
    State = HiddenState

    def __init__(
        self,
        n_in: int,
        n_hidden: int,
        *,
        activation: str = "tanh",
        **options: Unpack[CellOptions],
    ) -> None:
        check_choice("activation", activation, ACTIVATIONS)
        super().__init__(n_in, n_hidden, **options)
        self.phi = ACTIVATIONS[activation]

    def step(self, z: Gates, h: TensorVariable) -> HiddenState:
        """Return the new state, shape ``(batch, n_hidden)``."""
        (z_h,) = z
        return HiddenState(self.phi(z_h))


class LSTMCell(Cell):
    """Long short-term memory (Hochreiter and Schmidhuber, 1997; forget gate: Gers et al., 2000).

    ::

        i_t = sigmoid(x_t W_xi + h_{t-1} W_hi + b_i  [+ p_i * c_{t-1}])     input gate
        f_t = sigmoid(x_t W_xf + h_{t-1} W_hf + b_f  [+ p_f * c_{t-1}])     forget gate
        g_t = tanh(x_t W_xg + h_{t-1} W_hg + b_g)                           candidate
        c_t = f_t * c_{t-1} + i_t * g_t                                     cell state
        o_t = sigmoid(x_t W_xo + h_{t-1} W_ho + b_o  [+ p_o * c_t])         output gate
        h_t = o_t * tanh(c_t)                                               output

    with ``W_x = [W_xi W_xf W_xg W_xo]`` and so on.

    Parameters
    ----------
    n_in, n_hidden
        Sizes of ``x_t`` and ``h_t``.
    gates
        Which gates the cell has, to see what they are good for: ``"ifo"``; ``"io"`` is the cell of
        1997, which never forgets; ``""`` is the constant error carousel ``c_t = c_{t-1} + g_t``
        alone. A missing gate is open (1) and has no weights.
    peepholes
        True lets the gates see the cell state through weights ``p_i, p_f, p_o``, which start at 0
        (Gers et al., 2002).
    rng
        NumPy generator that draws the initial weights, ``np.random.default_rng(seed)``; not needed
        if W_x and W_h are arrays.
    W_x
        Initializer (for each gate) or array of shape ``(n_in, 4 * n_hidden)``. Default:
        `symrnn.initializers.xavier_uniform`.
    W_h
        Initializer (for each gate) or array of shape ``(n_hidden, 4 * n_hidden)``. Default:
        `symrnn.initializers.orthogonal`.
    bias
        False omits b. It starts at 0, but at 1 for the forget gate, so that the cell
        remembers from the beginning (Jozefowicz et al., 2015).

    Examples
    --------
    >>> cell = LSTMCell(3, 5, rng=np.random.default_rng(1))
    >>> cell
    LSTMCell: 180 weights
      W_x (3, 20)
      W_h (5, 20)
      b (20,)
    >>> cell.b.get_value().reshape(4, 5)[:, 0].tolist()
    [0.0, 1.0, 0.0, 0.0]
    """

    State = LSTMState

    def __init__(
        self,
        n_in: int,
        n_hidden: int,
        *,
        gates: str = "ifo",
        peepholes: bool = False,
        **options: Unpack[CellOptions],
    ) -> None:
        if gates not in {"ifo", "io", "fo", "if", "i", "f", "o", ""}:
            raise ValueError(
                f"gates is {gates!r}, but must be 'ifo' or a part of it in this order: 'io' omits "
                "the forget gate, '' all gates"
            )
        self.gates = [gate for gate in "ifgo" if gate in gates or gate == "g"]
        self.n_gates = len(self.gates)
        super().__init__(n_in, n_hidden, **options)
        if self.b is not None and "f" in gates:
            b = self.b.get_value()
            b[n_hidden * self.gates.index("f") :][:n_hidden] = 1
            self.b.set_value(b)
        self.p_i, self.p_f, self.p_o = (
            parameter(f"p_{gate}", (n_hidden,), np.zeros(n_hidden))
            if peepholes and gate in gates
            else None
            for gate in "ifo"
        )

    def step(self, z: Gates, h: TensorVariable, c: TensorVariable) -> LSTMState:
        """Return the new state, each of shape ``(batch, n_hidden)``."""
        z_of = dict(zip(self.gates, z, strict=True))
        i = _gate(z_of.get("i"), self.p_i, c)
        f = _gate(z_of.get("f"), self.p_f, c)
        g = pt.tanh(z_of["g"])
        c = f * c + i * g
        o = _gate(z_of.get("o"), self.p_o, c)
        return LSTMState(h=o * pt.tanh(c), c=c)


def _gate(z: TensorVariable | None, p: TensorVariable | None, c: TensorVariable) -> Any:
    """``sigmoid(z + p * c)``; without a peephole ``sigmoid(z)``; a missing gate is 1."""
    if z is None:
        return 1
    return pt.sigmoid(z if p is None else z + p * c)


class GRUCell(Cell):
    """Gated recurrent unit (Cho et al., 2014).

    ::

        r_t = sigmoid(x_t W_xr + h_{t-1} W_hr + b_r)                  reset gate
        u_t = sigmoid(x_t W_xu + h_{t-1} W_hu + b_u)                  update gate
        n_t = tanh(x_t W_xn + b_n + r_t * (h_{t-1} W_hn + b_hn))      reset="after" the product
        n_t = tanh(x_t W_xn + b_n + (r_t * h_{t-1}) W_hn)             reset="before" it
        h_t = (1 - u_t) * n_t + u_t * h_{t-1}

    with ``W_x = [W_xr W_xu W_xn]`` and so on. Here u is how much of the old state is kept, as in
    torch and Keras; in the paper u and 1 - u are exchanged.

    Parameters
    ----------
    n_in, n_hidden
        Sizes of ``x_t`` and ``h_t``.
    reset
        ``"after"`` (as in cuDNN and torch) or ``"before"`` (as in the paper). Before it there is a
        second product in each step: ``W_h`` has the columns of r and u, and ``W_hn`` is a separate
        weight. Such a cell is trained by the scan's own gradient, which is slower.
    rng
        NumPy generator that draws the initial weights, ``np.random.default_rng(seed)``; not needed
        if W_x and W_h are arrays.
    W_x
        Initializer (for each gate) or array of shape ``(n_in, 3 * n_hidden)``. Default:
        `symrnn.initializers.xavier_uniform`.
    W_h
        Initializer (for each gate) or array of shape ``(n_hidden, 3 * n_hidden)``. Default:
        `symrnn.initializers.orthogonal`.
    bias
        False omits b. It starts at 0.

    Examples
    --------
    >>> GRUCell(3, 5, rng=np.random.default_rng(1))
    GRUCell: 140 weights
      W_x (3, 15)
      W_h (5, 15)
      b (15,)
      b_hn (5,)
    """

    n_gates = 3
    State = HiddenState
    additive = False

    def __init__(
        self, n_in: int, n_hidden: int, *, reset: str = "after", **options: Unpack[CellOptions]
    ) -> None:
        check_choice("reset", reset, ("after", "before"))
        self.reset = reset
        super().__init__(n_in, n_hidden, **options)
        self.b_hn = self.W_hn = None
        if reset == "before":
            self.elementwise, self.n_recurrent_gates = False, 2
            W_h_all = self.W_h.get_value()
            self.W_h.set_value(W_h_all[:, : 2 * n_hidden])
            self.W_hn = parameter("W_hn", (n_hidden, n_hidden), W_h_all[:, 2 * n_hidden :])
        elif self.b is not None:
            self.b_hn = parameter("b_hn", (n_hidden,), np.zeros(n_hidden))

    def step(self, zx: Gates, zh: Gates, h: TensorVariable) -> HiddenState:
        """Return the new state, shape ``(batch, n_hidden)``."""
        r = pt.sigmoid(zx[0] + zh[0])
        u = pt.sigmoid(zx[1] + zh[1])
        if self.reset == "before":
            n = pt.tanh(zx[2] + (r * h) @ self.W_hn)
        else:
            n = pt.tanh(zx[2] + r * (zh[2] + self.b_hn if self.b_hn is not None else zh[2]))
        return HiddenState((1 - u) * n + u * h)


CELLS: dict[str, type[Cell]] = {"elman": ElmanCell, "lstm": LSTMCell, "gru": GRUCell}
"""The cells by their names in settings and on the command line."""
