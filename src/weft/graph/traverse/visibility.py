"""Who may see which node: the seam through which permissions reach a traversal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from weft.graph.model import NodeRef


class Visibility(Protocol):
    """Decides for one reader, at one point in time, which nodes exist as far as that reader can tell.

    Vocabulary. A node is *hidden* when `visible` says False for it. A traversal asks about its start nodes
    and, per hop, about every node that an edge reaches, before any limit applies.

    Promises of a traversal that has a visibility: a hidden node is not returned, not walked through, and not
    counted, and the edges to it neither; nothing in the result (order, completeness, reasons) tells that it
    is there. Each distinct node is asked about at most once per traversal, in few large batches.

    Promises of an implementation: one answer per node, in the same order; all answers of one instance hold at
    the same point in time (in weft: one zookie), so that one traversal never mixes two states. An error
    aborts the traversal: no answer never means yes.
    """

    def visible(self, nodes: Sequence[NodeRef]) -> Sequence[bool]:
        """Whether each of the nodes, all distinct, may be seen."""


@runtime_checkable
class LastingVisibility(Visibility, Protocol):
    """Also decides questions that go on, such as a watch: whose parts are each of a moment of their own."""

    def now(self) -> Visibility:
        """The same reader's eyes, as of now."""
