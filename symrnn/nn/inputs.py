"""Input validation of nets: what is wrong with an x, a mask or a state, and the usual fix.

What is known when a graph is built is checked then, the rest when the compiled function is called.
(Mode JAX does not check what is only known then; it warns of that.)
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import pytensor.tensor as pt
from pytensor.raise_op import CheckAndRaise
from pytensor.tensor.variable import TensorVariable

from symrnn.compiling.shapes import of_shape
from symrnn.kernels.shapes import InputFits, ShapeFits

MASK_FITS = CheckAndRaise(
    ValueError, "the mask's shape is not (time, batch), that of x without the features"
)
MASK_IS_0_OR_1 = CheckAndRaise(ValueError, "the mask holds values other than 0 and 1")
PADDING_IS_LAST = CheckAndRaise(
    ValueError,
    "the mask is 1 again after a 0, but padding must come last: after the tokens of each sequence, "
    "and after the turns of each dialogue; symrnn.text.padded and padded_dialogues put it there",
)


def _of(cell: Any) -> str:
    """Name of a cell in messages: its class and its path in the model."""
    return f"{type(cell).__name__} {cell.name}".rstrip()


def float_variable(x: Any, name: str = "x") -> TensorVariable:
    """Return x as a variable of a float dtype; `name` is what messages call it."""
    if isinstance(x, tuple):
        raise TypeError(
            f"{name} is a {type(x).__name__}: take one of its fields, for example state.h, or the "
            "outputs, the first of the two results of unroll"
        )
    x = pt.as_tensor_variable(x)
    if not x.dtype.startswith("float"):
        raise TypeError(
            f"{name} has dtype {x.dtype}, but must be of a float dtype, for example "
            f"{name}.astype(pytensor.config.floatX); token ids go through an Embedding first"
        )
    return x


def checked_sequence(cell: Any, x: Any) -> TensorVariable:
    """Return the input of a cell, ``(time, batch, features)``, in the dtype of its weights."""
    if isinstance(cell, list | tuple):
        raise TypeError(
            f"unroll takes one cell, not a {type(cell).__name__} of {len(cell)}: use "
            "stack(cells, x), or bidirectional(forward, backward, x)"
        )
    if isinstance(cell, type) or not hasattr(cell, "step"):
        raise TypeError(
            f"{cell!r} is not a cell: write unroll(cell, x), with an object such as "
            "cell = LSTMCell(n_in, n_hidden, rng=rng)"
        )
    if not hasattr(cell, "W_x"):
        raise TypeError(
            f"{type(cell).__name__} has no weights: its __init__ must call "
            "super().__init__(n_in, n_hidden, rng=rng)"
        )
    x = float_variable(x)
    if x.ndim != 3:
        raise ValueError(
            f"x has {x.ndim} axes, but must have three, (time, batch, features): "
            "one number a step is x[:, :, None]"
        )
    known = x.type.shape
    if 0 in known or known[2] not in (None, cell.n_in):
        raise ValueError(
            f"x has shape {known}, but must have at least one step in time and one sample, and "
            f"{cell.n_in} features, as many as the cell has inputs"
        )
    fits = InputFits(
        "x must have shape (time, batch, features) with at least one step in time and one "
        "sample, and as many features as the cell has inputs",
        f"{_of(cell)} was made for {cell.n_in}",
    )
    return fits(
        x.astype(cell.W_x.dtype),
        pt.gt(x.shape[0], 0),
        pt.gt(x.shape[1], 0),
        pt.eq(x.shape[2], cell.W_x.shape[0]),
    )


def checked_mask(mask: Any, x: TensorVariable) -> TensorVariable:
    """Return the mask as truth values, with an axis of size 1 for the features of x."""
    mask = pt.as_tensor_variable(mask)
    if mask.ndim != x.ndim - 1:
        raise ValueError(
            f"the mask has {mask.ndim} axes and x {x.ndim}: the mask must have all axes of x but "
            "the last, for example (time, batch)"
        )
    if mask.dtype.startswith("complex"):
        raise TypeError(f"the mask has dtype {mask.dtype}, but must hold 0 and 1 or truth values")
    if not may_equal(mask.type.shape, x.type.shape[:-1]):
        raise ValueError(
            f"the mask has shape {mask.type.shape} and x {x.type.shape}: the mask must have all "
            "axes of x but the last, for example (time, batch)"
        )
    mask = MASK_FITS(mask, *(pt.eq(mask.shape[k], x.shape[k]) for k in range(mask.ndim)))
    if mask.dtype != "bool":
        mask = MASK_IS_0_OR_1(mask, pt.all(pt.eq(mask, 0) | pt.eq(mask, 1)))
    mask = pt.specify_shape(mask, x.type.shape[:-1])  # of all these, mode JAX checks this alone
    return pt.neq(mask, 0).reshape((*tuple(x.shape)[:-1], 1))


def padding_last(mask: TensorVariable) -> TensorVariable:
    """Return the mask, with a check at the call that all padding comes last."""
    return PADDING_IS_LAST(mask, pt.le(mask[1:], mask[:-1]).all())


def checked_state(cell: Any, given: Any, wanted: Any, x: TensorVariable) -> Any:
    """Return the given initial state as a tuple like `wanted`, each ``(batch, n_hidden)``."""
    if not isinstance(given, tuple | list) or len(given) != len(wanted):
        error = ValueError if isinstance(given, tuple | list) else TypeError
        raise error(
            f"the initial state must be a tuple like {type(wanted).__name__}"
            f"({', '.join(wanted._fields)}), each (batch, n_hidden); a single array h is (h,)"
        )
    batch_size, n_hidden = x.shape[1], cell.W_h.shape[0]
    fits = ShapeFits(
        "an initial state's shape is not (batch, n_hidden), with the batch size of x, or "
        "(n_hidden,)",
        f"{_of(cell)} was made with {cell.n_hidden} hidden units",
    )
    known = (x.type.shape[1], cell.n_hidden)
    arrays = []
    for name, value in zip(wanted._fields, given, strict=True):
        array = pt.as_tensor_variable(value).astype(cell.W_h.dtype)
        shape = array.type.shape
        if array.ndim not in (1, 2) or not may_equal(shape, known[-array.ndim :]):
            raise ValueError(
                f"the initial state {name} has shape {shape}, but must have "
                f"(batch, n_hidden) = {known}, or (n_hidden,)"
            )
        if array.ndim == 1:
            array = fits(array, pt.eq(array.shape[0], n_hidden))
            array = of_shape(partial(pt.broadcast_to, array), (batch_size, n_hidden))
        else:
            rows, columns = array.shape
            array = fits(array, pt.eq(rows, batch_size), pt.eq(columns, n_hidden))
        arrays.append(array)
    return type(wanted)(*arrays)


def may_equal(shape: Sequence[int | None], wanted: Sequence[int | None]) -> bool:
    """Whether two shapes may be equal, as far as they are known."""
    return all(a is None or b is None or a == b for a, b in zip(shape, wanted, strict=True))
