"""`weft kv get`, `scan`, `put` and `delete`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from weft.cli.kv.options import (
    All,
    Cursor,
    Data,
    Hex,
    Json,
    Limit,
    NamespaceName,
    RecordName,
    open_store,
    parse_cursor,
)
from weft.cli.kv.text import parse_bytes, show_bytes
from weft.cli.output import emit, note
from weft.core.errors import Invalid
from weft.kv import ALL, Item, ItemWrite, Keys, PageLimits, Prefix, Range, Selection

KeyOption = Annotated[list[str] | None, typer.Option("--key", help="Only this item; repeatable.")]
PrefixOption = Annotated[str | None, typer.Option("--prefix", help="Items whose key starts so.")]
FromOption = Annotated[str | None, typer.Option("--from", help="Items from this key on.")]
ToOption = Annotated[str | None, typer.Option("--to", help="Items before this key.")]


def get(
    namespace: NamespaceName,
    records: Annotated[list[str], typer.Argument(metavar="RECORD...", help="Text, or hex:00ff.")],
    key: KeyOption = None,
    prefix: PrefixOption = None,
    from_: FromOption = None,
    to: ToOption = None,
    reverse: Annotated[bool, typer.Option("--reverse", help="From the last item to the first.")] = False,
    limit: Limit = 100,
    cursor: Cursor = None,
    all_: All = False,
    hex_: Hex = False,
    data: Data = None,
    json: Json = False,
) -> None:
    """Show the items of records, sorted by key.

    Example: weft kv get edges alice --prefix movie: --json
    """
    selection = _selection(key, prefix, from_, to, hex_)
    ids = [parse_bytes(record, hex_) for record in records]
    after = parse_cursor(cursor)
    with open_store(data) as store:
        while True:
            page = store.get_items(
                namespace, ids, selection, reverse=reverse, page=PageLimits(items=limit), after=after
            )
            for part in page.records:
                shown = show_bytes(part.record, hex_)
                for item in part.items:
                    emit(json, _fields(shown, item, hex_), _line(shown, item, hex_))
            after = page.next
            if after is None or not all_:
                break
    _end(after, json)


def scan(
    namespace: NamespaceName,
    limit: Limit = 100,
    cursor: Cursor = None,
    all_: All = False,
    hex_: Hex = False,
    data: Data = None,
    json: Json = False,
) -> None:
    """List the records of a namespace that hold anything.

    Example: weft kv scan edges --all
    """
    after = parse_cursor(cursor)
    with open_store(data) as store:
        while True:
            page = store.scan_records(namespace, page=PageLimits(items=limit), after=after)
            for record in page.records:
                shown = show_bytes(record, hex_)
                emit(json, {"record": shown}, shown)
            after = page.next
            if after is None or not all_:
                break
    _end(after, json)


def put(
    namespace: NamespaceName,
    record: RecordName,
    items: Annotated[list[str], typer.Argument(metavar="KEY=VALUE...", show_default=False)],
    ttl: Annotated[float | None, typer.Option(metavar="SECONDS", help="Until the items expire.")] = None,
    hex_: Hex = False,
    data: Data = None,
    json: Json = False,
) -> None:
    """Store items in a record, all or none. A key ends at the first `=`.

    Example: weft kv put settings ann theme=dark --ttl 3600
    """
    writes = []
    for item in items:
        key, equals, value = item.partition("=")
        if not equals:
            raise Invalid(f"`{item}` has no value", hint="write KEY=VALUE")
        writes.append(ItemWrite(parse_bytes(key, hex_), parse_bytes(value, hex_), ttl))
    with open_store(data, readonly=False) as store:
        store.put_items(namespace, parse_bytes(record, hex_), writes)
    emit(json, {"put": len(writes)}, f"{len(writes):,} put")


def delete(
    namespace: NamespaceName,
    record: RecordName,
    key: KeyOption = None,
    prefix: PrefixOption = None,
    from_: FromOption = None,
    to: ToOption = None,
    all_: Annotated[bool, typer.Option("--all", help="The whole record.")] = False,
    hex_: Hex = False,
    data: Data = None,
    json: Json = False,
) -> None:
    """Delete items of a record, or with --all the record.

    Example: weft kv delete settings ann --key theme
    """
    selection = _selection(key, prefix, from_, to, hex_)
    if all_ == (selection is not ALL):
        raise Invalid("what to delete is not clear", hint="say either which items, or --all")
    with open_store(data, readonly=False) as store:
        store.delete(namespace, parse_bytes(record, hex_), selection)
    emit(json, {"deleted": True}, "deleted")


def _selection(
    keys: list[str] | None, prefix: str | None, start: str | None, end: str | None, hex_: bool
) -> Selection:
    ranged = start is not None or end is not None
    if bool(keys) + (prefix is not None) + ranged > 1:
        raise Invalid("--key, --prefix and --from/--to exclude each other", hint="give one of them")
    if keys:
        return Keys(tuple(parse_bytes(key, hex_) for key in keys))
    if prefix is not None:
        return Prefix(parse_bytes(prefix, hex_))
    if ranged:
        return Range(parse_bytes(start or "", hex_), None if end is None else parse_bytes(end, hex_))
    return ALL


def _fields(record: str, item: Item, hex_: bool) -> dict[str, Any]:
    return {
        "record": record,
        "key": show_bytes(item.key, hex_),
        "value": show_bytes(item.value, hex_),
        "event_time_us": item.version.event_time_us,
        "expires_at_us": item.expires_at_us,
    }


def _line(record: str, item: Item, hex_: bool) -> str:
    expiry = ""
    if item.expires_at_us is not None:
        expiry = (
            f"  (expires {datetime.fromtimestamp(item.expires_at_us // 1_000_000, UTC):%Y-%m-%dT%H:%M:%SZ})"
        )
    return f"{record}  {show_bytes(item.key, hex_)}  {show_bytes(item.value, hex_)}{expiry}"


def _end(after: bytes | None, json: bool) -> None:
    """Say whether that was all, else how to go on."""
    if json:
        emit(True, {"complete": after is None, "cursor": after and after.hex()}, "")
    elif after is not None:
        note(f"more follow; go on with --cursor {after.hex()}, or ask for --all")
