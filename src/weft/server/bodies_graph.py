"""What weft.graph's routes take, and the shapes of what they answer."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from weft.core.limits import MAX_PAGE_ITEMS
from weft.graph.watch import HEARTBEAT_S
from weft.server.wire import Body

Texts = Annotated[list[str], Field(default_factory=list)]


class SeenBy(Body):
    """Whose eyes a question is asked with: what they may not see is not in the answer, not walked through and
    not counted. A node of type T and id I is the object `T:I` of weft.authz."""

    subject: str = Field(description="Like `user:ann`.")
    permissions: dict[str, str] = Field(
        description="By node type: the permission that seeing it takes. Types that are not named are hidden."
    )
    public: Texts
    at: str | None = Field(None, description="A zookie: answers are at least as fresh.")


Reader = Annotated[SeenBy | None, Field(description="None sees everything.")]


class Traverse(Body):
    """A traversal as `Traversal.to_json` writes it, and what is asked about where it ends."""

    type: str
    ids: list[str] | None = Field(None, description="None starts from every node of the type.")
    steps: list[dict[str, Any]] = Field(
        default_factory=list,
        description="`hop`, `where`, `order_by`, `limit` or `distinct`, named by `step`, with its fields.",
    )
    as_of_us: int | None = Field(None, description="Only edges that were valid at that instant.")
    within_s: float | None = Field(None, gt=0, description="Stop reading after so long, with what was found.")
    per_node: int | None = Field(
        None, ge=1, description="For hops without a `per_node` of their own: at most so many edges of a node."
    )
    answer: Literal["nodes", "edges", "paths", "count", "count_by", "summary", "explain", "profile"] = "nodes"
    page: int | None = Field(
        None, ge=1, le=MAX_PAGE_ITEMS, description="For nodes, edges, paths: at most so many."
    )
    after: str | None = Field(None, description="The `next` of the page before.")
    by: str | None = Field(
        None, description="For `summary` and `count_by`: a property; for the latter, without one, nodes."
    )
    of: Literal["nodes", "edges"] | None = Field(None, description="For `summary`: whose property; nodes.")
    top: int | None = Field(None, ge=1, description="For `count_by`: keep that many groups.")
    seen_by: Reader = None


class Ask(Body):
    """A query in the read-only subset of openCypher, with the values of its `$parameters`."""

    text: str
    parameters: dict[str, Any] = Field(default_factory=dict)
    seen_by: Reader = None


class Watch(Body):
    """What to be told of, and from when on."""

    types: Texts
    """Node and edge types; empty for all."""
    after: str | None = Field(None, description="The `cursor` of the last line; null begins now.")
    heartbeat_s: float = Field(
        HEARTBEAT_S, gt=0, le=3_600, description="A line comes at least this often, with news or without."
    )
    seen_by: Reader = None


class NodeShape(BaseModel):
    """`event_time_us` is when it became so, in microseconds since 1970; null where only edges know of it."""

    type: str
    id: str
    properties: dict[str, Any]
    event_time_us: int | None


class EdgeShape(BaseModel):
    type: str
    source: str
    target: str
    properties: dict[str, Any]
    event_time_us: int | None


class PathShape(BaseModel):
    """`edges[i]` joins `nodes[i]` and `nodes[i + 1]`, in either direction."""

    nodes: list[NodeShape]
    edges: list[EdgeShape]


class GroupShape(BaseModel):
    """How many walks end at one node, given by type and id, or at nodes with one value of a property."""

    key: Any
    count: int


class End(BaseModel):
    """Whether the answer is whole, and if not why. `zookie` is there where `seen_by` is: the moment at which
    its subject was asked about, or null where nothing was to be asked."""

    complete: bool
    reason: str
    zookie: str | None = None


class Found(End):
    """`next` is where the next page begins; null where there is none, or the answer has no pages."""

    items: list[NodeShape | EdgeShape | PathShape | GroupShape]
    next: str | None = None


class Counted(End):
    count: int


class Summarized(End):
    """Of a property: how many have it, the least and the greatest; sum and mean where all are numbers."""

    count: int
    min: Any
    max: Any
    sum: int | float | None
    avg: float | None


class StepPlanShape(BaseModel):
    """What a step is going to read, and the most nodes or edges that it can leave."""

    step: str
    reads: list[str]
    at_most: int


class Explained(BaseModel):
    steps: list[StepPlanShape]


class StepProfileShape(BaseModel):
    """What a step read: calls, items and bytes; and its time."""

    step: str
    reads: int
    items: int
    bytes: int
    asked: int
    seconds: float


class Profiled(BaseModel):
    steps: list[StepProfileShape]
    nodes: int
    seconds: float
    complete: bool
    reason: str


class Rows(End):
    """Rows by column name; nodes, edges and paths in them have their shapes."""

    columns: list[str]
    items: list[dict[str, Any]]


class NodeName(BaseModel):
    type: str
    id: str


class EdgeName(BaseModel):
    type: str
    source: str
    target: str


class Watched(BaseModel):
    """A line: a node or edge that changed, as it is `now`, or what was `removed`; with neither, a heartbeat.
    `cursor` goes on right after it."""

    cursor: str
    now: NodeShape | EdgeShape | None
    removed: NodeName | EdgeName | None


class Pushed(BaseModel):
    """How many events are durable."""

    events: int


class KindShape(BaseModel):
    """A node or edge type; `source`, `target` and what follows `groups` only of an edge type."""

    name: str
    source: str | None = None
    target: str | None = None
    properties: dict[str, str]
    unknown: Literal["keep", "refuse"]
    ttl_s: float | None
    groups: dict[str, list[str]] = {}
    split: bool = False
    newest: bool = False
    cap: int | None = None


class Types(BaseModel):
    nodes: list[KindShape]
    edges: list[KindShape]


class Refused(BaseModel):
    """What every refusal says."""

    code: str
    message: str
    hint: str
