"""Checkpoints: all that a training changes, in one safetensors file, so that it can be resumed.

``save(path, model)`` writes the weights of a module, ``load(path).restore(model)`` restores them.
``save(path, [model, *updates, rng], data)`` writes all that a training changes, random generators
and a dictionary: a training that is stopped and resumed then ends with the same weights, bit for
bit, as one that was not.

The file holds an array for each variable, under its name, as any program that reads safetensors
can show. Its metadata hold the rest as JSON, and a checksum of everything. Nothing in it is ever
executed.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.random import Generator
from numpy.typing import NDArray
from pytensor.compile.sharedvalue import SharedVariable
from safetensors import SafetensorError, safe_open

from symrnn import __version__
from symrnn._files import replacing
from symrnn.nn.module import Module

FORMAT = "1"
DTYPES = "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 complex64"

Array = NDArray[Any]
Variables = Module | Iterable[Any] | Mapping[str, Any]


class CheckpointError(ValueError):
    """A file is missing, is not a checkpoint, is damaged, or does not fit the model."""


def save(path: str | os.PathLike[str], variables: Variables, data: Any = None) -> None:
    """Write a checkpoint.

    The file is written atomically, to another name and then renamed: at any moment there is a
    complete file, the old or the new one, even if the process is killed or the disk is full. (A
    killed process may leave a file ``.NAME.*.part``; a save removes those more than an hour old.)

    Parameters
    ----------
    path
        By convention it ends in ``.safetensors``. Missing folders are created.
    variables
        A `symrnn.Module`: its weights and running statistics, named by their paths. Or a list
        of everything that training changes: modules, shared variables (optimizer state, carried
        states) and random generators (of graphs, and `numpy.random.Generator`). In a list,
        variables go by their own names, which must differ, and generators, which usually have none,
        by their order: ``generator 1``, ``generator 2`` ... One that appears twice is written once.
        The keys of the dictionary of updates are what a step changes; add variables that you set
        yourself, such as a learning rate. Or a dictionary that gives each a name.
    data
        A dictionary of anything else you need: settings of the model, vocabulary, losses so far. It
        may hold numbers, strings, booleans, None, lists and dictionaries with strings as keys.
        A tuple comes back as a list.

    Raises
    ------
    OSError
        If the file cannot be written. The old one is then unchanged.

    Examples
    --------
    The weights of a net are ``save("net.safetensors", net)``. With a generator and settings:

    >>> import tempfile
    >>> from symrnn.nn.cells import LSTMCell
    >>> cell, order = LSTMCell(2, 3, rng=np.random.default_rng(1)), np.random.default_rng(1)
    >>> path = Path(tempfile.mkdtemp()) / "model.safetensors"
    >>> save(path, [cell, order], {"settings": {"n_hidden": 3}, "epoch": 5})
    >>> W_x = cell.W_x.get_value()
    >>> cell.W_x.set_value(0 * W_x)
    >>> next_draw = order.random()
    >>> saved = load(path)
    >>> saved.data
    {'settings': {'n_hidden': 3}, 'epoch': 5}
    >>> saved.restore([cell, order])
    >>> bool((cell.W_x.get_value() == W_x).all()), order.random() == next_draw
    (True, True)

    A training that saves after every epoch, and resumes from the last one if it was stopped::

        updates = adam(loss, params) | carried.updates(final) | graph_updates(loss)
        step = symrnn.function([x, t], loss, updates=updates)
        changing, done = [*updates, order], 0
        if path.exists():
            saved = load(path)
            saved.restore(changing)
            done = saved.data["epoch"]
        else:
            save(path, changing, {"epoch": 0})  # an error now if one has no name

        def each_epoch(epoch, loss):
            save(path, changing, {"epoch": done + epoch})

        batches = lambda: minibatches([X, T], 32, rng=order, axes=[1, 0])
        train(step, batches, epochs=50 - done, each_epoch=each_epoch)

    Ctrl-C ends `train` after a step, usually in the middle of an epoch. The file is then that of
    the last complete epoch. To keep the steps after it too, count them, let the order of an epoch
    depend on its number alone, and save when `train` returns (or from `each_step`)::

        n = pytensor.shared(np.array(0), name="n")
        step = symrnn.function([x, t], loss, updates={**updates, n: n + 1})

        def batches():
            epoch, made = divmod(int(n.get_value()), n_batches)
            order = np.random.default_rng([seed, epoch])
            return itertools.islice(minibatches([X, T], 32, rng=order, axes=[1, 0]), made, None)

        train(step, batches, steps=50 * n_batches - int(n.get_value()))
        save(path, [*updates, n])
    """
    states = {name: _state(variable) for name, variable in _named(variables).items()}
    data = {} if data is None else data
    _check_plain(data, "data")
    arrays, axes = {}, {}
    for name, value in states.items():
        if isinstance(value, dict):
            continue
        if value.dtype.name not in DTYPES.split():
            raise TypeError(f"{name} has dtype {value.dtype}, but the file can only hold {DTYPES}")
        if name == "__metadata__":
            raise ValueError("in a safetensors file no variable can have the name __metadata__")
        arrays[name] = np.asarray(value, dtype=value.dtype.newbyteorder("<"), order="C")
        if not value.flags.c_contiguous:  # matrix products round by the order in memory
            axes[name] = np.argsort(np.abs(value.strides), kind="stable")[::-1].tolist()
    generators = {name: state for name, state in states.items() if name not in arrays}
    contents = {"symrnn": __version__, "data": data, "generators": generators, "axes": axes}
    text = json.dumps(contents, default=lambda a: a.tolist())  # some states have arrays
    checksum = _checksum(text, arrays)
    metadata = {"symrnn_checkpoint": FORMAT, "contents": text, "checksum": checksum}
    try:
        content = safetensors.numpy.save(arrays, metadata)
        with replacing(Path(os.path.realpath(path))) as stream:
            stream.write(content)
    except (OSError, SafetensorError) as error:
        raise OSError(f"{os.fspath(path)} could not be saved, and is unchanged: {error}") from error


@dataclass(frozen=True, repr=False)
class Checkpoint:
    """What `load` returns.

    Attributes
    ----------
    path
        The file that was read.
    data
        The dictionary that was saved.
    arrays
        The values of the shared variables by name, with dtype, shape and order in memory as saved.
    generators
        The states of the random generators by name.
    """

    path: Path
    data: dict[str, Any]
    arrays: dict[str, Array]
    generators: dict[str, Any]

    def restore(self, variables: Variables, *, partly: bool = False) -> None:
        """Set all variables and generators to their saved values, or none if one does not fit.

        Parameters
        ----------
        variables
            A module, a list or a dictionary, as it was saved. Generators without names must stand
            in the same order.
        partly
            True allows the file to hold more: of a training's checkpoint the weights alone, for
            example, ``load(path).restore(model, partly=True)``.

        Raises
        ------
        CheckpointError
            If something is missing or surplus, or has another shape, dtype or kind, with names and
            shapes; nothing is changed then.
        """
        variables, saved = _named(variables), {**self.arrays, **self.generators}
        here = {name: _state(variable) for name, variable in variables.items()}
        missing = [name for name in here if name not in saved]
        surplus = [] if partly else [name for name in saved if name not in here]
        kinds = {name: (_kind(saved[name]), _kind(here[name])) for name in here if name in saved}
        other = [f"{name} ({a} in the file, {b} here)" for name, (a, b) in kinds.items() if a != b]
        wrong = {"it lacks": missing, "it also has": surplus, "they differ in": other}
        if any(wrong.values()):
            found = "; ".join(f"{what} {_some(names)}" for what, names in wrong.items() if names)
            raise CheckpointError(
                f"{self.path} does not fit, and nothing was changed: {found}. "
                + self._remedy(missing, surplus)
            )
        for name, variable in variables.items():
            if isinstance(variable, Generator):
                variable.bit_generator.state = self.generators[name]
            elif name in self.generators:
                generator = variable.get_value()
                generator.bit_generator.state = self.generators[name]
                variable.set_value(generator)
            else:
                variable.set_value(self.arrays[name])

    def _remedy(self, missing: list[str], surplus: list[str]) -> str:
        """What helps if something does not fit."""
        for name in missing[:1]:
            prefixes = [n.removesuffix(f".{name}") for n in self.arrays if n.endswith(f".{name}")]
            if prefixes and all(f"{prefixes[0]}.{n}" in self.arrays for n in missing):
                return (
                    f"The file has them as {prefixes[0]}.{name} and so on: restore the whole "
                    f"module, or symrnn.Module({prefixes[0].split('.')[0]}=...) with partly=True"
                )
        if surplus and not missing:
            return "To take only some of a file, give partly=True"
        return (
            "Build the model with the settings it was saved with, and list the same variables as "
            "then"
        )

    def __repr__(self) -> str:
        """Return what the file holds, without the values."""
        names = [*self.arrays, *self.generators]
        return f"Checkpoint {self.path}: {len(names)} variables ({_some(names)}), data {self.data}"


def load(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint and check that it is complete.

    Returns
    -------
    Checkpoint
        ``.restore(model)`` puts the saved values in place (``partly=True``: also from a file that
        holds more); ``.data`` is the dictionary that was saved, which may hold the settings to
        build the model; ``.arrays`` are the values by name.

    Raises
    ------
    CheckpointError
        If the file does not exist, is not a checkpoint, is damaged (cut off, altered), or was
        written by a newer symrnn.

    Examples
    --------
    >>> import tempfile
    >>> from symrnn.nn.layers import Dense
    >>> path = Path(tempfile.mkdtemp()) / "net.safetensors"
    >>> save(path, Dense(2, 1, rng=np.random.default_rng(1)))
    >>> load(path).restore(Dense(2, 1, rng=np.random.default_rng(2)))
    """
    path = Path(path)
    if not path.is_file():
        what = "is not a regular file" if path.exists() else "does not exist"
        raise CheckpointError(f"{path} {'is a folder' if path.is_dir() else what}")
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is not a safetensors file, or damaged: {error}") from error
    if "symrnn_checkpoint" not in metadata:
        raise CheckpointError(f"{path} is a safetensors file, but not a checkpoint of symrnn")
    if metadata["symrnn_checkpoint"] != FORMAT:
        raise CheckpointError(
            f"{path} has format {metadata['symrnn_checkpoint']}, and this symrnn, {__version__}, "
            f"reads format {FORMAT}: use a newer one"
        )
    text = metadata.get("contents", "")
    if metadata.get("checksum") != _checksum(text, arrays):
        raise CheckpointError(
            f"{path} is damaged: its contents are not those that were written (the checksum "
            "differs); take a copy of it, or an earlier file"
        )
    contents = json.loads(text)
    for name, axes in contents["axes"].items():
        arrays[name] = arrays[name].transpose(axes).copy("C").transpose(np.argsort(axes))
    return Checkpoint(path, contents["data"], arrays, contents["generators"])


def _named(variables: Variables) -> dict[str, Any]:
    """Variables and generators by name."""
    if isinstance(variables, str | os.PathLike):
        raise TypeError(
            f"the variables are {str(variables)!r}: the path comes first, save(path, model), and "
            "load(path).restore(model)"
        )
    if isinstance(variables, Module):
        named: dict[str, Any] = {**variables.named_variables()}
        if not named:
            raise ValueError(f"this {type(variables).__name__} has no weights to save")
        return named
    if isinstance(variables, SharedVariable) or not isinstance(variables, Iterable):
        raise TypeError(
            f"the variables must be a Module or a list, such as [W, b, rng], and not {variables!r}"
        )
    if isinstance(variables, Mapping):
        if not all(isinstance(name, str) for name in variables):
            raise TypeError(
                "the keys of a dictionary must be the variables' names; the variables of a "
                "dictionary of updates are [*updates]"
            )
        return dict(variables)
    named, n_generators = {}, 0
    given: dict[int, tuple[str | None, Any]] = {}  # each once
    for part in variables:
        parts = part.named_variables() if isinstance(part, Module) else {None: part}
        for path, variable in parts.items():
            given.setdefault(id(variable), (path or getattr(variable, "name", None), variable))
    for name, variable in given.values():
        if name is None and isinstance(_state(variable), dict):
            n_generators += 1
            name = f"generator {n_generators}"
        if name is None or name in named:
            fault = f"two are named {name}" if name else f"{variable!r} has no name"
            raise ValueError(
                f"{fault}: put modules into one, symrnn.Module(first=cell, second=other), whose "
                "weights are named by their paths; name what you make, as in "
                "pytensor.shared(array, name='a'); or give a dictionary {name: variable}"
            )
        named[name] = variable
    if not named:
        raise ValueError("the list of variables is empty")
    return named


def _state(variable: Any) -> Any:
    """The array in a shared variable, not copied, or the state of a generator, a dictionary."""
    value = variable
    if isinstance(variable, SharedVariable):
        value = variable.get_value(borrow=True)
    elif not isinstance(variable, Generator):
        raise TypeError(
            "a checkpoint takes a list of modules, shared variables and generators, such as "
            f"numpy.random.default_rng(1), and not {variable!r}; a tuple of several, such as a "
            "learned initial state, is written *state"
        )
    return value.bit_generator.state if isinstance(value, Generator) else np.asarray(value)


def _kind(state: Any) -> str:
    """What must be the same in the file and in the model."""
    return state["bit_generator"] if isinstance(state, dict) else f"{state.dtype} {state.shape}"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


def _check_plain(value: Any, place: str) -> None:
    """Check that JSON gives back what it was given."""
    if isinstance(value, dict):
        for key, entry in value.items():
            if not isinstance(key, str):
                raise TypeError(f"{place} has the key {key!r}, but keys must be strings")
            _check_plain(entry, f"{place}[{key!r}]")
    elif isinstance(value, list | tuple):
        for k, entry in enumerate(value):
            _check_plain(entry, f"{place}[{k}]")
    elif not isinstance(value, str | int | float | None):
        raise TypeError(
            f"{place} is a {type(value).__name__}, but only numbers, strings, booleans, None, "
            "lists and dictionaries can be saved: write float(...), int(...) or array.tolist()"
        )


def _checksum(text: str, arrays: dict[str, Array]) -> str:
    """Of the metadata and of all names, dtypes, shapes and bytes."""
    total = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        total.update(f"{name!r} {array.dtype.name} {array.shape}".encode())
        total.update(array.reshape(-1).view(np.uint8).data)
    return total.hexdigest()
