"""`Module`, the base of everything that has weights, and the weights themselves.

A module finds its weights by walking its attributes, so nobody writes lists of them:

>>> class Layer(Module):
...     def __init__(self, n_in, n_out):
...         self.W = parameter("W", (n_in, n_out), np.ones((n_in, n_out)))
...         self.b = parameter("b", (n_out,), np.zeros(n_out))
>>> net = Module(layers=[Layer(2, 3), Layer(3, 1)])
>>> [*net.named_params()]
['layers.0.W', 'layers.0.b', 'layers.1.W', 'layers.1.b']
>>> net
Module: 13 weights
  layers.0: Layer
    W (2, 3)
    b (3,)
  layers.1: Layer
    W (3, 1)
    b (1,)
"""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import pytensor
from numpy.typing import ArrayLike
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Variable

from symrnn._validate import check_rng
from symrnn.nn.initializers import Initializer, Random


class Module:
    """Base of everything that has weights: cells, layers, models, and nets of your own.

    Weights are attributes: shared variables of a float dtype, alone or in modules, lists, tuples
    and dictionaries, to any depth. Attributes whose names begin with an underscore are not
    searched. Each weight is named after its path in the model, ``encoder.layers.0.W_x``, so no two
    weights of a model share a name and ``pytensor.dprint`` reads like the equations.

    A subclass needs no ``super().__init__()``. Without a subclass, give the parts as keywords:

    Parameters
    ----------
    parts
        The module's attributes.

    Examples
    --------
    >>> import numpy as np
    >>> from symrnn.nn.cells import LSTMCell
    >>> from symrnn.nn.layers import Dense
    >>> rng = np.random.default_rng(1)
    >>> net = Module(cell=LSTMCell(3, 5, rng=rng), output=Dense(5, 1, rng=rng))
    >>> [w.name for w in net.params]
    ['cell.W_x', 'cell.W_h', 'cell.b', 'output.W', 'output.b']
    >>> net.n_params
    186
    """

    _borrows: ClassVar[bool] = False
    """True for a wrapper that may be temporary: it does not rename what it wraps."""
    _name: str = ""

    def __init__(self, **parts: Any) -> None:
        for name, part in parts.items():
            setattr(self, name, part)

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        if name.startswith("_") or self._borrows:
            return
        parts = list(_walk(value, f"{self._name}.{name}" if self._name else name))
        if all(part is not self for _, part in parts):  # else it is a parent, and keeps its names
            _set_names(parts)

    @property
    def name(self) -> str:
        """Path of the module in its model, such as ``"encoder.layers.0"``; empty for the model."""
        return self._name

    @property
    def params(self) -> list[SharedVariable]:
        """The trained weights, in the order of the attributes; a shared one appears once."""
        return [*self.named_params().values()]

    @property
    def n_params(self) -> int:
        """Number of elements of all trained weights."""
        return sum(w.get_value(borrow=True).size for w in self.params)

    def named_params(self) -> dict[str, SharedVariable]:
        """Return the trained weights by their paths in this module."""
        return {path: v for path, v in self.named_variables().items() if not _is_statistic(v)}

    def named_variables(self) -> dict[str, SharedVariable]:
        """Return what a checkpoint saves of this module: weights and running statistics."""
        parts = list(_walk(self, ""))
        if not self._name and not self._borrows:
            _set_names(parts[1:])  # a list may have grown since it was assigned
        found: dict[int, tuple[str, SharedVariable]] = {}
        for path, part in parts:
            if isinstance(part, SharedVariable) and _is_float(part):
                found.setdefault(id(part), (path, part))
        variables = dict(found.values())
        if len(variables) < len(found):
            paths = [path for path, _ in found.values()]
            twice = next(path for path in paths if paths.count(path) > 1)
            raise ValueError(
                f"two weights of this {type(self).__name__} would be called {twice}: change the "
                "keys of its dictionaries so that they differ as text and have no dots"
            )
        return variables

    def __repr__(self) -> str:
        """Return the tree of modules, with the shape of each weight."""
        lines = [f"{type(self).__name__}: {self.n_params:,} weights"]
        weights, depth = self.named_variables(), {"": 0}
        for path, part in _walk(self, ""):
            if not path or not any(w == path or w.startswith(f"{path}.") for w in weights):
                continue
            above = max((m for m in depth if path.startswith(f"{m}.")), key=len, default="")
            name = path[len(above) + 1 :] if above else path
            indent = "  " * (depth[above] + 1)
            if isinstance(part, Module):
                depth[path] = depth[above] + 1
                lines.append(f"{indent}{name}: {type(part).__name__}")
            elif path in weights:
                note = ", not trained" if _is_statistic(part) else ""
                lines.append(f"{indent}{name} {part.get_value(borrow=True).shape}{note}")
        return "\n".join(lines)


def _walk(value: Any, path: str, within: tuple[Any, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Modules and shared variables in `value`, with the path that leads to each."""
    if isinstance(value, Module):
        if any(value is module for module in within):  # a module that knows its parent
            return
        yield path, value
        parts, within = vars(value), (*within, value)
        items: Any = ((name, part) for name, part in parts.items() if not name.startswith("_"))
    elif isinstance(value, SharedVariable):
        yield path, value
        return
    elif isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list | tuple):
        items = zip(getattr(value, "_fields", range(len(value))), value, strict=True)
    else:
        return
    for name, part in items:
        yield from _walk(part, f"{path}.{name}" if path else str(name), within)


def _set_names(parts: Any) -> None:
    """Name modules and variables by their paths; the first path of each counts."""
    seen = set()
    for path, part in parts:
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, Module):
            object.__setattr__(part, "_name", path)
        elif _is_float(part):
            part.name = path


def _is_float(variable: SharedVariable) -> bool:
    return str(getattr(variable.type, "dtype", "")).startswith("float")


def _is_statistic(variable: SharedVariable) -> bool:
    return getattr(variable.tag, "symrnn_statistic", False)


def parameter(
    name: str,
    shape: Sequence[int],
    initial: Initializer | ArrayLike,
    *,
    rng: Random | None = None,
) -> SharedVariable:
    """Make a weight: a shared variable of dtype ``pytensor.config.floatX``.

    Assigned to an attribute of a `Module`, it belongs to the module's ``params``.

    Parameters
    ----------
    name
        Its symbol in the equations, used in error messages.
    shape
        Its shape, all sizes at least 1.
    initial
        An initializer ``(rng, shape) -> array`` of `symrnn.initializers`, or the values.
    rng
        Source of random numbers; needed where `initial` is an initializer.

    Returns
    -------
    SharedVariable
        Holds a copy of the values.

    Examples
    --------
    >>> W_x = parameter("W_x", (1, 1), [[0.09]])
    >>> W_x.name, W_x.get_value().shape
    ('W_x', (1, 1))
    """
    if min(shape, default=1) < 1:
        raise ValueError(f"{name} cannot have shape {tuple(shape)}: every size must be at least 1")
    if callable(initial):
        if rng is None:
            raise ValueError(
                f"{name}: an initializer draws random numbers, so it needs a generator: "
                "rng=numpy.random.default_rng(1)"
            )
        check_rng(rng, f"{name}: rng", legacy=True)
        values = initial(rng, tuple(shape))
    elif isinstance(initial, Variable | str):
        raise TypeError(
            f"{name} is {initial!r}, but must be an array, or an initializer such as "
            "symrnn.initializers.orthogonal; to share a weight of another layer, make the layer "
            f"and then assign it: layer.{name} = other.W"
        )
    else:
        values = np.array(initial)
    values = np.asarray(values, dtype=pytensor.config.floatX)
    if values.shape != tuple(shape):
        raise ValueError(
            f"{name} has shape {tuple(shape)}, but its initial values have shape {values.shape}"
        )
    if not np.isfinite(values).all():
        raise ValueError(f"the initial values of {name} are not all finite")
    return pytensor.shared(values, name=name)


def statistic(name: str, shape: Sequence[int], initial: ArrayLike) -> SharedVariable:
    """Make a shared variable that a module saves with its weights, but that is not trained.

    Examples
    --------
    >>> running_mean = statistic("running_mean", (2,), [0.0, 0.0])
    >>> net = Module(gain=parameter("gain", (2,), [1.0, 1.0]), running_mean=running_mean)
    >>> [*net.named_params()], [*net.named_variables()]
    (['gain'], ['gain', 'running_mean'])
    """
    variable = parameter(name, shape, initial)
    variable.tag.symrnn_statistic = True
    return variable


def zeros_like(parameter: SharedVariable, name: str) -> SharedVariable:
    """Make a shared variable of zeros with the shape, dtype and static shape of `parameter`."""
    value = parameter.get_value(borrow=True)
    return pytensor.shared(np.zeros_like(value), name=name, shape=parameter.type.shape)


def check_parameters(params: Any) -> list[SharedVariable]:
    """Return `params`, a list or a `Module`, as a list of distinct shared float variables."""
    if isinstance(params, SharedVariable):
        raise TypeError(f"params must be a list: write [{params.name or 'w'}]")
    if isinstance(params, Module):
        params = params.params
    if not isinstance(params, list | tuple):
        raise TypeError(
            f"params must be a list of shared variables, for example cell.params, or a Module, "
            f"and not {params!r}"
        )
    checked: list[SharedVariable] = list(params)
    if not checked:
        raise ValueError("params is empty: there is nothing to update")
    for parameter in checked:
        if isinstance(parameter, Module):
            raise TypeError(
                f"params has a {type(parameter).__name__} in it: put modules into one, "
                "symrnn.Module(first=..., second=...), and give its params"
            )
        if not isinstance(parameter, SharedVariable):
            raise TypeError(
                f"only shared variables can be updated, but {parameter!r} is a "
                f"{type(parameter).__name__}: make it with pytensor.shared(array, name=...)"
            )
        if not _is_float(parameter):
            dtype = getattr(parameter.type, "dtype", "that is not a number")
            raise TypeError(
                f"{label(parameter)} has dtype {dtype}, and gradient steps need a float: "
                "make it with pytensor.shared(array.astype(pytensor.config.floatX))"
            )
    if len(set(checked)) < len(checked):
        twice = next(p for i, p in enumerate(checked) if p in checked[:i])
        raise ValueError(f"{label(twice)} is in params twice")
    return checked


def label(variable: Any) -> str:
    """Name of a variable for messages."""
    return str(variable.name or variable)
