"""Slices along time: of which sequence a variable is a part, and which part."""

from typing import Any, NamedTuple

import numpy as np
from pytensor.graph.basic import Variable
from pytensor.tensor.subtensor import Subtensor, get_idx_list


class Part(NamedTuple):
    """A part of a sequence, as `pytensor.scan` cuts it for each of its taps."""

    sequence: Variable
    """The whole sequence."""
    start: int
    """Number of elements skipped at its beginning."""
    end: int
    """Number of elements skipped at its end."""
    backwards: bool
    """Whether it is reversed."""


def part_of(outer: Variable) -> Part:
    """Return the sequence that `outer` is a part of, and which part it is."""
    slices = []
    while outer.owner is not None and isinstance(outer.owner.op, Subtensor):
        index = get_idx_list(outer.owner.inputs, outer.owner.op.idx_list)
        if len(index) != 1 or not isinstance(index[0], slice) or not _is_plain(index[0]):
            break
        if outer.name and not outer.name.endswith("]"):
            break  # named by the user; PyTensor's own names are of the form x[2:]
        slices.append(index[0])
        outer = outer.owner.inputs[0]
    skipped, backwards = [0, 0], False  # at the beginning and at the end
    for s in reversed(slices):
        if value_of_index(s.step) == -1:
            backwards = not backwards
            continue
        skipped[backwards] += value_of_index(s.start) or 0
        skipped[not backwards] -= min(value_of_index(s.stop) or 0, 0)  # [:n] is the number of steps
    return Part(outer, skipped[0], skipped[1], backwards)


def _is_plain(s: slice) -> bool:
    """Whether a slice is ``[k:]``, ``[:-k]``, ``[k:-l]``, ``[::-1]`` or ``[:n]``."""
    if s.step is not None:
        return s.start is None and s.stop is None and value_of_index(s.step) == -1
    start = value_of_index(s.start)
    return s.start is None or (start is not None and start >= 0)


def sliced(v: Variable, fits: Any) -> tuple[Variable, slice | None]:
    """Return the variable whose slice along time `v` is, and the slice, if it fits; else `v`."""
    if v.owner is not None and isinstance(v.owner.op, Subtensor):
        index = get_idx_list(v.owner.inputs, v.owner.op.idx_list)
        if len(index) == 1 and isinstance(index[0], slice) and fits(index[0]):
            return v.owner.inputs[0], index[0]
    return v, None


def value_of_index(v: Any) -> int | None:
    """Return the value of an index; None if it is not known before the graph runs."""
    v = getattr(v, "data", v)
    if isinstance(v, Variable) and v.owner is not None and len(v.owner.inputs) == 1:
        return value_of_index(v.owner.inputs[0])  # ScalarFromTensor
    return int(v) if isinstance(v, int | np.ndarray | np.integer) else None


def is_shape(v: Variable) -> bool:
    """Whether `v` is the shape of another variable."""
    return v.owner is not None and type(v.owner.op).__name__ in ("Shape", "Shape_i")


def is_last(v: Variable) -> bool:
    """Whether `v` is ``[-1]`` of another variable."""
    if v.owner is None or not isinstance(v.owner.op, Subtensor):
        return False
    index = get_idx_list(v.owner.inputs, v.owner.op.idx_list)
    return not isinstance(index[0], slice) and value_of_index(index[0]) == -1
