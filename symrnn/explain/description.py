"""Describe scans in words: as text in a terminal, as tables in a notebook, as data."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from pytensor.graph.basic import Variable

from symrnn.explain.anatomy import Anatomy
from symrnn.explain.dissection import anatomies
from symrnn.explain.graphs import as_variables
from symrnn.explain.plain import with_plain_scans


@dataclass(frozen=True)
class Description:
    """Description of scans, returned by `describe`: print it, or show it in a notebook."""

    scans: list[Anatomy]
    """The scans, the first to run first."""

    def __str__(self) -> str:
        return "\n\n".join(_as_text(scan) for scan in self.scans)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return "".join(_as_html(scan) for scan in self.scans)

    def as_data(self) -> list[dict[str, Any]]:
        """Return lists, dictionaries, numbers and strings, for example for `json.dumps`."""
        return [_as_data(scan) for scan in self.scans]


def describe(variables: Variable | Sequence[Variable]) -> Description:
    """Describe the scans behind a variable: arguments, equations and results of their steps.

    Nothing is compiled. Fast recurrent layers of this library appear as the plain scans that they
    stand for, with the names of their cells' equations. (Their custom backward pass has no such
    names; for a gradient to be read use ``symrnn.unroll(..., implementation="scan")``.)

    Parameters
    ----------
    variables
        What `pytensor.scan` returned, or anything computed from it; or a list of such variables.

    Returns
    -------
    Description
        Print it. Its ``scans`` hold a `symrnn.explain.anatomy.Anatomy` for each scan.

    Raises
    ------
    ValueError
        If there is no scan behind the variables.

    Examples
    --------
    >>> import pytensor, pytensor.tensor as pt
    >>> x, h0, w = pt.vector("x"), pt.scalar("h0"), pt.scalar("w")
    >>> def step(x_t, h, w):
    ...     return pt.tanh(x_t + w * h)
    >>> h = pytensor.scan(step, sequences=[x], outputs_info=[h0], non_sequences=[w],
    ...                   return_updates=False)
    >>> print(describe(h))
    a scan of as many steps as x has
    arguments of a step
      x[t]    sequence            x (a vector, float64)
      h[t-1]  state               starts with h0 (a scalar, float64)
      w       non-sequence        w (a scalar, float64)
    a step
      h[t] = tanh(x[t] + w * h[t-1])
    results
      h[t]    fed back as h[t-1]  used: all steps
    """
    return Description(anatomies(with_plain_scans(as_variables(variables))))


def headline(scan: Anatomy) -> str:
    """Return name, number of steps, direction and end of a scan in a line."""
    name = scan.title
    steps = "1 step" if scan.n_steps == "1" else f"{scan.n_steps} steps"
    parts = [f"{name} of {'at most ' if scan.until else ''}{steps}"]
    if scan.n_steps.startswith("as many"):
        parts = [f"{name} of as many steps as {scan.n_steps.removeprefix('as many as ')}"]
    if scan.backwards:
        parts.append("backwards, from the end of its sequences to the beginning")
    if scan.until:
        parts.append(f"ends after the step where {scan.until}")
    if scan.truncate_gradient:
        parts.append(f"its gradient is truncated after {scan.truncate_gradient} steps")
    return "; ".join(parts)


def _tables(scan: Anatomy) -> tuple[list[list[str]], list[list[str]]]:
    """Rows of both tables: arguments and results."""
    arguments = [[a.name, a.kind, a.source] for a in scan.arguments]
    results = []
    for r in scan.results:
        name = r.name.removesuffix("[t]")
        back = " and ".join(f"{name}[t{tap:+d}]" for tap in r.taps)
        kind = f"fed back as {back}" if r.kind == "fed back" else r.kind
        results.append([r.name, kind, f"used: {r.used}"])
    return arguments, results


def _as_text(scan: Anatomy) -> str:
    arguments, results = _tables(scan)
    widths = [max(len(row[k]) for row in arguments + results) for k in range(2)]
    lines = [headline(scan), "arguments of a step"]

    def write(rows: list[list[str]]) -> None:
        for name, kind, rest in rows:
            lines.append(f"  {name:<{widths[0]}}  {kind:<{widths[1]}}  {rest}".rstrip())

    write(arguments)
    lines.append("a step")
    lines.extend(f"  {line}" for line in scan.equations)
    lines.append("results")
    write(results)
    return "\n".join(lines)


def _as_html(scan: Anatomy) -> str:
    arguments, results = _tables(scan)

    def rows(table: list[list[str]]) -> str:
        cells = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in table)
        return "".join(f"<tr>{row}</tr>" for row in cells)

    equations = "\n".join(escape(line) for line in scan.equations)
    return (
        f"<p><b>{escape(headline(scan))}</b></p>"
        f"<table><caption>arguments of a step</caption>{rows(arguments)}</table>"
        f"<pre>{equations}</pre>"
        f"<table><caption>results</caption>{rows(results)}</table>"
    )


def _as_data(scan: Anatomy) -> dict[str, Any]:
    return {
        "name": scan.name,
        "n_steps": scan.n_steps,
        "backwards": scan.backwards,
        "truncate_gradient": scan.truncate_gradient,
        "until": scan.until,
        "arguments": [
            {"name": a.name, "kind": a.kind, "source": a.source, "tap": a.tap}
            for a in scan.arguments
        ],
        "equations": list(scan.equations),
        "results": [
            {"name": r.name, "kind": r.kind, "taps": list(r.taps), "used": r.used}
            for r in scan.results
        ],
    }
