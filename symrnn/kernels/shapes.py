"""Checks of shapes when a function is called, and what mode JAX says where it cannot make one.

JAX compiles for arrays of known shapes. Where a graph leaves them open, its errors are about slices
in the midst of a scan; ours is about the layer's input.
"""

from typing import Any

from pytensor.graph.basic import Apply, Variable
from pytensor.graph.op import Op
from pytensor.graph.rewriting.basic import node_rewriter
from pytensor.raise_op import CheckAndRaise


class ShapeFits(CheckAndRaise):
    """A check of a shape when the function is called.

    Compiled code has the `message` in it. If there were sizes in it too, numba would compile a
    whole function anew for a layer of another size; so they are added where Python makes the check.

    Parameters
    ----------
    message
        Text of the ValueError, the same for all sizes.
    made_for
        What the layer is and which sizes it was made for.
    """

    __props__ = ("msg", "exc_type", "made_for")

    def __init__(self, message: str, made_for: str) -> None:
        super().__init__(ValueError, message)
        self.made_for = made_for

    def perform(self, node: Apply[Any], inputs: Any, outputs: Any) -> None:
        """Check, and name the sizes: in the default mode and all others that call Python."""
        try:
            super().perform(node, inputs, outputs)
        except ValueError as error:
            sizes = f"{self.made_for}, but the shape is {inputs[0].shape}"
            raise ValueError(f"{self.msg}: {sizes}") from error


class InputFits(ShapeFits):
    """The check of a recurrent layer's input when the function is called."""


class OfUnknownShape(Op):
    """Takes the place of `InputFits` in mode JAX if sizes are not known: there it cannot run."""

    def __str__(self) -> str:
        return (
            "a recurrent layer on an input of unknown shape: mode JAX needs to know it, "
            "x = pt.tensor('x', shape=(time, batch, features)); mode NUMBA does not"
        )

    def make_node(self, x: Variable) -> Apply[Any]:
        """Node with an output like `x`."""
        return Apply(self, [x], [x.type()])

    def perform(self, *args: Any) -> None:
        """Not available."""
        raise NotImplementedError(str(self))


@node_rewriter([InputFits])
def refuse_unknown_shape(fgraph: Any, node: Apply[Any]) -> Any:
    """Leave an operation whose name says what is wrong: JAX reports what it does not know."""
    if None not in node.inputs[0].type.shape:
        return False
    return [OfUnknownShape()(node.inputs[0])]
