"""Weights from and to torch and Keras, as plain NumPy arrays; neither needs to be installed.

========================================  =================  ==========================
cell                                      torch              Keras
========================================  =================  ==========================
``LinearCell``                            none               ``SimpleRNN``, linear
``ElmanCell``, tanh or relu               ``nn.RNN``         ``SimpleRNN``
``ElmanCell``, another activation         none               ``SimpleRNN``
``LSTMCell``                              ``nn.LSTM``        ``LSTM``
``GRUCell(reset="after")``                ``nn.GRU``         ``GRU``
``GRUCell(reset="before")``               none               ``GRU(reset_after=False)``
========================================  =================  ==========================

An LSTM with peepholes or without some of its gates has no equivalent there. For a cell in a
wrapper, pass ``wrapper.cell``; what the wrapper does, for example Zoneout, is not part of the
weights.

The weight layouts, with the gates named as in our cells:

- torch: matrices are transposed, ``(gates * hidden, inputs)``; the order of gates is ours, i, f, g,
  o and r, u, n. There are two biases, ``bias_ih`` and ``bias_hh``, which are only used as their
  sum: that is b. In the GRU, the part n of ``bias_hh`` is separate: it is our ``b_hn``.
- Keras: matrices and the order i, f, g, o are ours, but the GRU has u, r, n. With
  ``reset_after=True`` it has both biases, as the two rows of one array.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pytensor.compile.sharedvalue import SharedVariable

from symrnn.nn.cells import ACTIVATIONS, Cell, ElmanCell, GRUCell, LinearCell, LSTMCell
from symrnn.nn.initializers import Array


def from_torch(cells: Sequence[Any], state_dict: Mapping[str, Any]) -> None:
    """Set the weights of `cells` to those of an ``nn.RNN``, ``nn.LSTM`` or ``nn.GRU``.

    If anything does not fit, an error explains it and no weight is changed.

    Parameters
    ----------
    cells
        Cells as `symrnn.stack` takes them: a list from the bottom up, all of one kind and size; a
        pair (forward, backward) of cells is a bidirectional layer.
    state_dict
        The module's ``state_dict()``: ``weight_ih_l0`` of shape ``(gates * n_hidden, n_in)``,
        ``weight_hh_l0`` of shape ``(gates * n_hidden, n_hidden)``, ``bias_ih_l0`` and
        ``bias_hh_l0`` of shape ``(gates * n_hidden,)``, the same with ``l1`` and so on, and the
        same ending in ``_reverse``. Values may be anything that `numpy.asarray` takes, such as
        tensors on the CPU.

    Notes
    -----
    The weights do not tell whether an ``nn.RNN`` uses tanh or relu: create the cells with its
    nonlinearity. Numbers are converted to the dtype of the cells' weights. Like ours, torch's
    sequences are ``(time, batch, features)``, unless the module has ``batch_first=True``.

    Examples
    --------
    With torch: ``from_torch(cells, torch.nn.RNN(1, 1).state_dict())``. The same with arrays:

    >>> cell = ElmanCell(1, 1, rng=np.random.default_rng(1))
    >>> weights = {"weight_ih_l0": [[0.5]], "weight_hh_l0": [[0.9]]}
    >>> from_torch([cell], weights | {"bias_ih_l0": [0.1], "bias_hh_l0": [0.2]})
    >>> [(w.name, w.get_value().round(3).tolist()) for w in cell.params]
    [('W_x', [[0.5]]), ('W_h', [[0.9]]), ('b', [0.3])]
    """
    layers, module = _torch_layers(cells)
    if not isinstance(state_dict, Mapping):
        raise TypeError(
            f"state_dict is of type {type(state_dict).__name__}, but must be a dictionary from "
            "names to arrays: give module.state_dict()"
        )
    new: dict[SharedVariable, Array] = {}
    wanted = to_torch(cells)
    _check_names(wanted, state_dict, module)
    given = {
        name: _checked(name, state_dict[name], weight, f"the cells are {module}")
        for name, weight in wanted.items()
    }
    for suffix, cell in layers.items():
        W_x, W_h, *biases = (given[f"{name}_{suffix}"] for name in _torch_weights(cell))
        values = _from_parts(cell, W_x.T, W_h.T, *biases)
        if not new.keys().isdisjoint(values):
            raise ValueError(
                f"a cell is in cells twice, but each layer of {module} has its own weights: "
                "create one cell for each"
            )
        new |= values
    _set(new)


def to_torch(cells: Sequence[Any]) -> dict[str, Array]:
    """Return the weights of `cells` as the state dict of an ``nn.RNN``, ``nn.LSTM`` or ``nn.GRU``.

    Parameters
    ----------
    cells
        Cells as `symrnn.stack` takes them: a list from the bottom up, all of one kind and size; a
        pair (forward, backward) of cells is a bidirectional layer.

    Returns
    -------
    dict
        Copies of the weights as arrays, with torch's names, order and shapes, for example
        ``weight_ih_l0`` of shape ``(gates * n_hidden, n_in)``. b is in ``bias_ih``, and ``bias_hh``
        is 0 (in the GRU: 0 for r and u, b_hn for n).

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> cells = [(GRUCell(3, 5, rng=rng, bias=False), GRUCell(3, 5, rng=rng, bias=False))]
    >>> for name, weight in to_torch(cells).items():
    ...     print(name, weight.shape)
    weight_ih_l0 (15, 3)
    weight_hh_l0 (15, 5)
    weight_ih_l0_reverse (15, 3)
    weight_hh_l0_reverse (15, 5)

    Into a torch module with the dtype of the cells::

        module = torch.nn.GRU(3, 5, bias=False, bidirectional=True, dtype=torch.float64)
        weights = to_torch(cells).items()
        module.load_state_dict({name: torch.from_numpy(weight) for name, weight in weights})
    """
    layers, _ = _torch_layers(cells)
    return {
        f"{name}_{suffix}": weight
        for suffix, cell in layers.items()
        for name, weight in _torch_weights(cell).items()
    }


def from_keras(cell: Cell, weights: Sequence[Any]) -> None:
    """Set the weights of `cell` to those of a Keras ``SimpleRNN``, ``LSTM`` or ``GRU`` layer.

    If anything does not fit, an error explains it and no weight is changed.

    Parameters
    ----------
    cell
        The cell that corresponds to the layer; for a GRU with ``reset_after=False`` a
        ``GRUCell(..., reset="before")``.
    weights
        The layer's ``get_weights()``: the kernel ``(n_in, gates * n_hidden)``, the recurrent kernel
        ``(n_hidden, gates * n_hidden)``, and, if there is one, the bias ``(gates * n_hidden,)``;
        with ``reset_after=True`` the bias is ``(2, 3 * n_hidden)``. A Bidirectional layer has the
        weights of two cells, those of the forward cell first.

    Notes
    -----
    The weights do not tell the layer's activations, nor, without a bias, whether a GRU has
    ``reset_after=True``: create the cell as the layer was created. The defaults are the same,
    ``activation="tanh"`` and ``recurrent_activation="sigmoid"``. Numbers are converted to the dtype
    of the cell's weights. Keras is batch-major: its input is ``x.transpose(1, 0, 2)`` of ours.

    Examples
    --------
    With Keras: ``from_keras(cell, layer.get_weights())``. The same with arrays:

    >>> cell = ElmanCell(1, 1, rng=np.random.default_rng(1))
    >>> from_keras(cell, [[[0.5]], [[0.9]], [0.1]])
    >>> [(w.name, w.get_value().tolist()) for w in cell.params]
    [('W_x', [[0.5]]), ('W_h', [[0.9]]), ('b', [0.1])]
    """
    layer = _keras_layer(cell)
    weights, wanted = list(weights), _keras_weights(cell)
    if len(weights) != len(wanted):
        raise ValueError(
            f"the layer has {len(weights)} arrays, but {layer} has {len(wanted)}, "
            f"{', '.join(wanted)}: "
            + (
                "the weights of a Bidirectional layer are those of two cells, weights[:"
                f"{len(wanted)}] and weights[{len(wanted)}:]"
                if len(weights) == 2 * len(wanted)
                else "create the cell with bias=True or False, like the layer's use_bias"
            )
        )
    given = [
        _checked(name, value, weight, f"{_brief(cell)} is {layer}")
        for value, (name, weight) in zip(weights, wanted.items(), strict=True)
    ]
    if isinstance(cell, GRUCell):
        given = [_exchange_first_gates(array) for array in given]
    W_x, W_h, *biases = given
    if biases:
        (bias,) = biases
        biases = list(bias) if bias.ndim == 2 else [bias, np.zeros_like(bias)]
    _set(_from_parts(cell, W_x, W_h, *biases))


def to_keras(cell: Cell) -> list[Array]:
    """Return the weights of `cell` for a Keras ``SimpleRNN``, ``LSTM`` or ``GRU`` layer.

    Parameters
    ----------
    cell
        The cell that corresponds to the layer.

    Returns
    -------
    list
        Copies of the weights, for the layer's ``set_weights``: the kernel ``(n_in, gates *
        n_hidden)``, the recurrent kernel ``(n_hidden, gates * n_hidden)``, and the bias ``(gates *
        n_hidden,)`` if there is one. For ``reset_after=True`` the bias is ``(2, 3 * n_hidden)``;
        b_hn is the part n of its second row, the rest of which is 0.

    Examples
    --------
    >>> [weight.shape for weight in to_keras(GRUCell(3, 5, rng=np.random.default_rng(1)))]
    [(3, 15), (5, 15), (2, 15)]
    """
    _keras_layer(cell)
    return list(_keras_weights(cell).values())


def _parts(cell: Cell) -> list[Array]:
    """Copies of W_x and W_h of all gates, and of the biases of input and state if there are any."""
    W_x, W_h = cell.W_x.get_value(), cell.W_h.get_value()
    if isinstance(cell, GRUCell) and cell.W_hn is not None:
        W_h = np.concatenate([W_h, cell.W_hn.get_value()], axis=1)
    if cell.b is None:
        return [W_x, W_h]
    b_x = cell.b.get_value()
    b_h = np.zeros_like(b_x)
    if isinstance(cell, GRUCell) and cell.b_hn is not None:
        b_h[2 * cell.n_hidden :] = cell.b_hn.get_value()
    return [W_x, W_h, b_x, b_h]


def _from_parts(
    cell: Cell, W_x: Array, W_h: Array, b_x: Array | None = None, b_h: Array | None = None
) -> dict[SharedVariable, Array]:
    """New values of the cell's weights, from arrays as `_parts` returns them."""
    third_gate = slice(2 * cell.n_hidden, None)
    values = {cell.W_x: W_x, cell.W_h: W_h}
    if isinstance(cell, GRUCell) and cell.W_hn is not None:
        values |= {cell.W_h: W_h[:, : 2 * cell.n_hidden], cell.W_hn: W_h[:, third_gate]}
    if b_x is not None and b_h is not None:
        values[cell.b] = b_x + b_h
        if isinstance(cell, GRUCell) and cell.b_hn is not None:
            values[cell.b][third_gate] = b_x[third_gate]
            values[cell.b_hn] = b_h[third_gate]
    return values


def _set(values: dict[SharedVariable, Array]) -> None:
    for variable, value in values.items():
        variable.set_value(np.array(value, dtype=variable.dtype, order="C"))


def _checked(name: str, value: Any, now: Array, reason: str) -> Array:
    """The value in float64, in which biases are added; its shape must be that of the weight now."""
    array = np.asarray(value)
    if array.shape != now.shape:
        raise ValueError(
            f"{name} has shape {array.shape}, but {reason}, where it has {now.shape}: "
            "create the cells with the kind and sizes of the layers that the weights come from"
        )
    if not np.can_cast(array.dtype, np.float64, casting="same_kind"):
        raise ValueError(f"{name} has dtype {array.dtype}, but must hold real numbers")
    with np.errstate(over="ignore"):
        finite = np.isfinite(array.astype(now.dtype)).all()
    if not finite:
        raise ValueError(f"the values of {name} are not all finite in {now.dtype}")
    return array.astype(np.float64)


def _torch_weights(cell: Cell) -> dict[str, Array]:
    """A cell's weights, with torch's shapes and its names without the layer."""
    W_x, W_h, *biases = _parts(cell)
    arrays = [np.ascontiguousarray(W_x.T), np.ascontiguousarray(W_h.T), *biases]
    return dict(zip(("weight_ih", "weight_hh", "bias_ih", "bias_hh"), arrays, strict=False))


def _torch_layers(cells: Sequence[Any]) -> tuple[dict[str, Cell], str]:
    """The cells by the suffixes of torch's names, and the torch module in words."""
    if not isinstance(cells, list | tuple):
        raise TypeError(
            f"cells is of type {type(cells).__name__}, but must be a list of cells from the bottom "
            "up: for one layer write [cell], for a bidirectional one [(forward, backward)]"
        )
    pairs = [isinstance(layer, list | tuple) for layer in cells]
    if not cells or len(set(pairs)) > 1 or not all(len(c) == 2 for c in cells if pairs[0]):
        raise ValueError(
            "cells must be a list of cells, or of pairs (forward, backward) of cells: a torch "
            f"module has at least one layer, and all are alike; given are {_brief(cells)}"
        )
    layers: dict[str, Cell] = {}
    for k, layer in enumerate(cells):
        for ending, cell in zip(("", "_reverse"), layer if pairs[k] else [layer], strict=False):
            layers[f"l{k}{ending}"] = cell
    first = layers["l0"]
    kind, settings = _torch_kind(first)
    for suffix, cell in layers.items():
        n_in = first.n_in if suffix.startswith("l0") else first.n_hidden * (1 + pairs[0])
        want = (*_torch_kind(first), n_in, first.n_hidden, first.b is not None)
        have = (*_torch_kind(cell), cell.n_in, cell.n_hidden, cell.b is not None)
        if have != want:
            raise ValueError(
                f"the cells of a torch module are all of one kind and size, but that of {suffix} "
                f"is {_brief(cell)}, where {_brief(first)} in l0 requires {want[2]} inputs and "
                f"{want[3]} hidden units"
            )
    if len(cells) > 1:
        settings += f", num_layers={len(cells)}"
    if first.b is None:
        settings += ", bias=False"
    if pairs[0]:
        settings += ", bidirectional=True"
    return layers, f"nn.{kind}({first.n_in}, {first.n_hidden}{settings})"


def _torch_kind(cell: Any) -> tuple[str, str]:
    """Name of torch's class, and its argument for the nonlinearity."""
    if type(cell) is ElmanCell and cell.phi is ACTIVATIONS["tanh"]:
        return "RNN", ""
    if type(cell) is ElmanCell and cell.phi is ACTIVATIONS["relu"]:
        return "RNN", ", nonlinearity='relu'"
    if _is_usual_lstm(cell):
        return "LSTM", ""
    if type(cell) is GRUCell and cell.reset == "after":
        return "GRU", ""
    raise ValueError(
        f"{_brief(cell)} has no equivalent in torch: nn.RNN is an ElmanCell with tanh or relu, "
        "nn.LSTM an LSTMCell with all gates and without peepholes, nn.GRU a GRUCell with "
        "reset='after'"
    )


def _check_names(wanted: Mapping[str, Any], given: Mapping[str, Any], module: str) -> None:
    """Raise ValueError if names are missing or surplus, and suggest the cause."""
    missing = [name for name in wanted if name not in given]
    surplus = [str(name) for name in given if name not in wanted]
    odd = missing + surplus
    if not odd:
        return
    if any("." in name for name in surplus):
        fix = (
            "give the state_dict of the recurrent module alone, for example model.rnn.state_dict()"
        )
    elif any(name.startswith("weight_hr") for name in surplus):
        fix = "a projection (proj_size) has no equivalent here"
    elif all("_reverse" in name for name in odd):
        fix = "a bidirectional layer is a pair (forward, backward) in cells, any other is one cell"
    elif all(name.startswith("bias") for name in odd):
        fix = "create the cells with the same bias=True or False as the module"
    else:
        fix = "cells must have one cell, or one pair, for each layer of the module"
    raise ValueError(
        f"the state_dict is not that of {module}: missing are {', '.join(missing) or 'none'}, "
        f"surplus are {', '.join(surplus) or 'none'}; {fix}"
    )


def _keras_weights(cell: Cell) -> dict[str, Array]:
    """A cell's weights, with Keras' names and shapes."""
    arrays = _parts(cell)
    if len(arrays) == 4:
        *arrays, b_x, b_h = arrays
        both = isinstance(cell, GRUCell) and cell.reset == "after"
        arrays.append(np.stack([b_x, b_h]) if both else b_x)
    if isinstance(cell, GRUCell):
        arrays = [_exchange_first_gates(array) for array in arrays]
    return dict(zip(("kernel", "recurrent_kernel", "bias"), arrays, strict=False))


def _exchange_first_gates(array: Array) -> Array:
    """Change the order of a GRU's gates along the last axis from r, u, n to u, r, n, or back."""
    r, u, n = np.split(array, 3, axis=-1)
    return np.concatenate([u, r, n], axis=-1)


def _keras_layer(cell: Any) -> str:
    """The Keras layer that corresponds to a cell, in words."""
    if type(cell) in (ElmanCell, LinearCell):
        layer = "SimpleRNN"
    elif _is_usual_lstm(cell):
        layer = "LSTM"
    elif type(cell) is GRUCell:
        layer = "GRU"
    else:
        raise ValueError(
            f"{_brief(cell)} has no equivalent in Keras: SimpleRNN is an ElmanCell or LinearCell, "
            "LSTM an LSTMCell with all gates and without peepholes, GRU a GRUCell; give one cell "
            "at a time"
        )
    settings = f"({cell.n_hidden}"
    if layer == "GRU":
        settings += f", reset_after={cell.reset == 'after'}"
    if cell.b is None:
        settings += ", use_bias=False"
    return f"keras.layers.{layer}{settings}) with {cell.n_in} inputs"


def _is_usual_lstm(cell: Any) -> bool:
    return type(cell) is LSTMCell and cell.gates == ["i", "f", "g", "o"] and cell.p_i is None


def _brief(cell: Any) -> str:
    """A cell, or a list of cells, in words."""
    if isinstance(cell, list | tuple):
        return f"({', '.join(_brief(c) for c in cell)})"
    if not isinstance(cell, Cell):
        return type(cell).__name__
    settings = [str(cell.n_in), str(cell.n_hidden)]
    if isinstance(cell, ElmanCell):
        settings += [f"activation={name!r}" for name, f in ACTIVATIONS.items() if f is cell.phi]
    if isinstance(cell, LSTMCell):
        settings.append(f"gates={''.join(gate for gate in cell.gates if gate != 'g')!r}")
        settings += ["peepholes=True"] if cell.p_i is not None else []
    if isinstance(cell, GRUCell):
        settings.append(f"reset={cell.reset!r}")
    if cell.b is None:
        settings.append("bias=False")
    return f"{type(cell).__name__}({', '.join(settings)})"
