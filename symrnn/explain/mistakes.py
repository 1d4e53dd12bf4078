"""Call a scan's step once, outside of the loop, and say in plain words what is wrong with it."""

import inspect
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytensor.tensor as pt
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Constant, Variable
from pytensor.graph.traversal import ancestors, graph_inputs
from pytensor.scan.utils import until
from pytensor.tensor.random.type import RandomType


@dataclass(frozen=True)
class Report:
    """What `check` found: print it. It is true if nothing is wrong."""

    call: str
    """How scan calls the step: ``fn(x_t = x[t], h = h0[t-1], W = W)``."""
    problems: list[str]
    """What is wrong, each with the usual fix."""
    remarks: list[str]
    """What is allowed, but may not be intended."""

    def __bool__(self) -> bool:
        return not self.problems

    def __str__(self) -> str:
        lines = [f"scan calls {self.call}"]
        lines += [f"wrong: {problem}" for problem in self.problems]
        lines += [f"note: {remark}" for remark in self.remarks]
        right = "no mistake found; is the order of arguments above the intended one?"
        return "\n".join([*lines, *([] if self.problems else [right])])


def check(
    fn: Callable[..., Any],
    sequences: Any = None,
    outputs_info: Any = None,
    non_sequences: Any = None,
    n_steps: Any = None,
    *,
    strict: bool = False,
    **options: Any,
) -> Report:
    """Call a step once, as `pytensor.scan` would, and explain common mistakes.

    It checks a call of scan, so it takes scan's arguments, not a graph.

    The arguments are those of `pytensor.scan`, so one name is all that has to be changed in a call
    that fails.

    Parameters
    ----------
    fn
        The step: a function of slices of the sequences, earlier outputs, and non-sequences.
    sequences
        A variable, or a list of variables or of dictionaries ``{"input": x, "taps": [-1, 0]}``.
    outputs_info
        For each output its initial value, or ``{"initial": x0, "taps": [-2, -1]}``, or None if it
        is not fed back.
    non_sequences
        A variable or a list: what is the same at all steps.
    n_steps
        Number of steps; not needed if there are sequences.
    strict
        Whether shared variables must be among the `non_sequences`.
    options
        Other options of `pytensor.scan`; they are ignored.

    Returns
    -------
    Report
        How scan calls `fn`, and what is wrong. No error is raised: print it.

    Examples
    --------
    >>> import pytensor.tensor as pt
    >>> x = pt.dvector("x")
    >>> print(check(lambda x_t, total: total + x_t, sequences=[x], outputs_info=[0]))
    scan calls fn(x_t = x[t], total = state[t-1])
    wrong: state 0 starts as int8, but the step returns float64: start with \
pt.as_tensor_variable(0).astype("float64")
    """
    if not callable(fn):
        raise TypeError(
            "check takes the arguments of pytensor.scan, check(step, sequences=...), "
            f"and not {fn!r}: to look into a graph use describe, trace or draw"
        )
    trial = _Trial(_as_list(sequences), _as_list(outputs_info), _as_list(non_sequences))
    if n_steps is None and not trial.sequences:
        trial.problems.append(
            "the number of steps is unknown, as there are no sequences: give n_steps"
        )
    if isinstance(n_steps, int) and n_steps == 1:
        trial.remarks.append("with n_steps=1 PyTensor builds no scan: it calls the step once")
    if not trial.problems:
        outputs = trial.call(fn)
        if not trial.problems:
            trial.look_at(outputs, strict)
    return Report(f"fn({_as_called(fn, trial.arguments)})", trial.problems, trial.remarks)


def _as_called(fn: Callable[..., Any], arguments: Sequence[tuple[str, Variable]]) -> str:
    """The arguments under the step's own names for them: ``x_t = x[t], s = state[t-1]``."""
    try:
        parameters = list(inspect.signature(fn).bind(*range(len(arguments))).arguments)
    except (TypeError, ValueError):
        parameters = []
    if len(parameters) != len(arguments):
        return ", ".join(name for name, _ in arguments)
    return ", ".join(f"{p} = {name}" for p, (name, _) in zip(parameters, arguments, strict=True))


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


class _Trial:
    """The arguments of a step, and the problems found when it is called with them."""

    def __init__(
        self, sequences: Sequence[Any], outputs_info: Sequence[Any], non_sequences: Sequence[Any]
    ) -> None:
        self.problems: list[str] = []
        self.remarks: list[str] = []
        self.sequences, self.outputs_info = sequences, outputs_info
        self.arguments: list[tuple[str, Variable]] = []
        self.states: dict[int, tuple[str, Variable]] = {}
        """For each output that is fed back, its name and a variable of the required type."""
        for k, sequence in enumerate(sequences):
            self._add_sequence(k, sequence)
        for k, info in enumerate(outputs_info):
            self._add_state(k, info)
        for k, value in enumerate(non_sequences):
            v = value if isinstance(value, Variable) else pt.as_tensor_variable(value)
            self.arguments.append((v.name or f"non_sequences[{k}]", v))

    def _add_sequence(self, k: int, given: Any) -> None:
        taps = [0]
        if isinstance(given, dict):
            taps, given = _as_list(given.get("taps", [0])), given.get("input")
        try:
            v = pt.as_tensor_variable(given)
        except (TypeError, NotImplementedError, ValueError):
            self.problems.append(f"sequences[{k}] is {given!r}, but must be an array or a variable")
            return
        name = v.name or f"sequences[{k}]"
        if v.ndim == 0:
            self.problems.append(
                f"{name} is a scalar, but scan iterates over the first axis of a sequence: "
                "put what is the same at all steps into non_sequences"
            )
            return
        for tap in taps:
            self.arguments.append((f"{name}[t{tap:+d}]".replace("+0", ""), v[0].type()))

    def _add_state(self, k: int, info: Any) -> None:
        if info is None or (
            isinstance(info, dict) and info.get("initial", info.get("taps")) is None
        ):
            return  # only collected
        taps = [-1]
        if isinstance(info, dict):
            taps, info = _as_list(info.get("taps", [-1])), info.get("initial")
        if info is None:
            self.problems.append(f"output {k} has taps but no initial value: give initial=...")
            return
        v = info if isinstance(info, Variable) else pt.as_tensor_variable(info)
        name = v.name or "state"
        if any(tap >= 0 for tap in taps):
            self.problems.append(
                f"{name} has the taps {taps}: only earlier values, with taps below 0, can be "
                "fed back"
            )
            return
        one = v
        if taps != [-1]:
            needed = -min(taps)
            if v.type.ndim == 0 or (v.type.shape[0] or needed) < needed:
                self.problems.append(
                    f"{name} has the taps {taps}, so its initial value needs a first axis with "
                    f"{needed} earlier values, oldest first: for example pt.stack([...])"
                )
                return
            one = v[0]
        self.states[k] = (name, one)
        for tap in taps:
            self.arguments.append((f"{name}[t{tap:+d}]", one.type()))

    def call(self, fn: Callable[..., Any]) -> Any:
        """Return what the step returns; None if it cannot be called."""
        names = ", ".join(name for name, _ in self.arguments)
        try:
            inspect.signature(fn).bind(*(v for _, v in self.arguments))
        except TypeError:
            own = ", ".join(inspect.signature(fn).parameters) or "nothing"
            self.problems.append(
                f"the step takes {own}, but scan gives it {len(self.arguments)} arguments: "
                f"{names}. First come the sequences, then the outputs that are fed back, then the "
                "non_sequences"
            )
            return None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return fn(*(v for _, v in self.arguments))
        except TypeError as error:
            if "boolean" in str(error):  # PyTensor: ... cannot be converted to Python boolean
                self.problems.append(
                    "the step needs the truth value of a variable (in if, while, and, or, not), "
                    "but it has no value yet; use pt.switch(condition, a, b), &, | and ~"
                )
                return None
            advice = ""
            if "item assignment" in str(error):
                advice = (
                    "; a variable cannot be changed in place: s = pt.set_subtensor(s[0], value)"
                )
            self.problems.append(f"the step fails with {type(error).__name__}: {error}{advice}")
        except Exception as error:
            self.problems.append(f"the step fails with {type(error).__name__}: {error}")
        return None

    def look_at(self, returned: Any, strict: bool) -> None:
        """Compare what the step returns with what scan expects."""
        parts = list(returned) if isinstance(returned, list | tuple) else [returned]
        if any(isinstance(part, until) for part in parts[:-1]):
            self.problems.append("until(...) must be the last item that the step returns")
        strange = [p for p in _flat(parts) if not isinstance(p, Variable | dict | until)]
        if strange:
            self.problems.append(
                f"the step returns {strange[0]!r}, which is not a variable: "
                + (
                    "its return statement is missing"
                    if strange[0] is None
                    else "convert it by pt.as_tensor_variable(...)"
                )
            )
            return
        outputs, updates = _outputs_and_updates(returned)
        wanted = len(self.outputs_info)
        if wanted and wanted != len(outputs):
            self.problems.append(
                f"the step returns {len(outputs)} outputs, but outputs_info has {wanted}: it needs "
                "one entry for each, None for an output that is not fed back"
            )
        for k, (name, start) in self.states.items():
            if k < len(outputs):
                self._compare(k, name, start, outputs[k])
        self._look_for_captured(outputs, strict)
        self._look_for_unused([*outputs, *updates.values()])
        self._look_for_generators(outputs, updates)

    def _compare(self, k: int, name: str, start: Variable, output: Variable) -> None:
        """Compare an output that is fed back with its initial value."""
        what = f"{name} {k}" if name == "state" else name
        old, new = start.type, output.type
        if isinstance(old, RandomType) or isinstance(new, RandomType):
            if old != new:
                self.problems.append(f"{what} starts as {old}, but the step returns {new}")
            return
        if old.dtype != new.dtype:
            value = start.data if isinstance(start, Constant) and old.ndim == 0 else name
            self.problems.append(
                f"{what} starts as {old.dtype}, but the step returns {new.dtype}: start with "
                f'pt.as_tensor_variable({value}).astype("{new.dtype}")'
            )
        if old.ndim != new.ndim:
            usual = (
                "without a time axis"
                if old.ndim > new.ndim
                else "for example pt.zeros(n) for a state with n units"
            )
            self.problems.append(
                f"{what} starts with {old.ndim} axes, but the step returns {new.ndim}: an initial "
                f"value has the shape of one step, {usual}"
            )
            return
        if old.ndim and old.shape[0] == 1:
            self.remarks.append(
                f"{what} has the shape {old.shape} at every step: if its first axis is meant to be "
                "time, leave it out"
            )
        for axis, (a, b) in enumerate(zip(old.shape, new.shape, strict=True)):
            if a is not None and b is not None and a != b:
                self.problems.append(
                    f"axis {axis} of {what} has length {a} at the start, but {b} after a step: "
                    "start with an array of the state's full shape, for example pt.zeros(...)"
                )
            elif (a == 1) != (b == 1):
                self.problems.append(
                    f"axis {axis} of {what} is known to have length 1 "
                    f"{'at the start' if a == 1 else 'after a step'} only: use "
                    f"pt.specify_broadcastable(..., {axis}) on the other one if it is 1 there too, "
                    "or start with the full shape"
                )

    def _look_for_captured(self, outputs: Sequence[Variable], strict: bool) -> None:
        given = {v for _, v in self.arguments}
        inside = set(ancestors(outputs, blockers=given))
        captured = [
            v
            for v in graph_inputs(outputs, blockers=given)
            if v in inside and v not in given and not isinstance(v, Constant)
        ]
        for v in captured:
            kind = "shared variable" if isinstance(v, SharedVariable) else "variable"
            refused = strict and isinstance(v, SharedVariable)  # strict is about these alone
            (self.problems if refused else self.remarks).append(
                f"the step uses the {kind} {v}, which is not among its arguments: it is clearer, "
                "and required for shared variables if strict=True, to put it into non_sequences "
                "and to take it as an argument"
            )

    def _look_for_unused(self, outputs: Sequence[Variable]) -> None:
        used = set(ancestors(outputs))
        states = {name for name, _ in self.states.values()}
        for name, v in self.arguments:
            if v not in used:
                hint = " (None in outputs_info if it is not fed back)"
                is_state = name.split("[t")[0] in states and "[t-" in name
                self.remarks.append(f"the step does not use {name}{hint if is_state else ''}")

    def _look_for_generators(self, outputs: Sequence[Variable], updates: Any) -> None:
        used = [i for v in ancestors(outputs) if v.owner is not None for i in v.owner.inputs]
        for name, v in self.arguments:
            if isinstance(v.type, RandomType) and v in used and v in outputs:
                self.problems.append(
                    f"the step draws from {name} and returns it unchanged, so every step draws the "
                    "same numbers: return the next generator, next_rng, draw = rng.normal()"
                )
        for v in graph_inputs(outputs):
            if not (isinstance(v, SharedVariable) and isinstance(v.type, RandomType)):
                continue
            if v not in updates:
                if getattr(v, "_default_update", None) is not None:  # of a RandomStream
                    self.remarks.append(
                        f"the step draws from {v}, which updates itself: this only works with "
                        "return_updates=True, and if the updates that scan returns are passed on "
                        "to pytensor.function"
                    )
                    continue
                self.problems.append(
                    f"the step draws from the shared generator {v} and does not pass it on, so "
                    "every step draws the same numbers: give the generator as outputs_info=[..., "
                    "rng], take it as an argument and return the next one (next_rng, draw = "
                    "rng.normal()); its final value goes into the updates of pytensor.function"
                )


def _flat(parts: Sequence[Any]) -> list[Any]:
    return [q for p in parts for q in (_flat(p) if isinstance(p, list | tuple) else [p])]


def _outputs_and_updates(returned: Any) -> tuple[list[Variable], dict[Any, Any]]:
    """The outputs, as variables, and the updates in what a step returns."""
    parts = list(returned) if isinstance(returned, list | tuple) else [returned]
    outputs: list[Variable] = []
    updates: dict[Any, Any] = {}
    for part in parts:
        if isinstance(part, dict):
            updates |= part
        elif isinstance(part, list | tuple):
            outputs += [v if isinstance(v, Variable) else pt.as_tensor_variable(v) for v in part]
        elif not isinstance(part, until):
            outputs.append(part if isinstance(part, Variable) else pt.as_tensor_variable(part))
    return outputs, updates
