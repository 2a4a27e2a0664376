"""Writes: three ways in, all or nothing, once per key."""

import json
from pathlib import Path
from typing import Any


def stored(weft: Any) -> set[str]:
    return set(weft("export -").out.splitlines())


def test_arguments_files_and_standard_input_are_one_write(store: Any, tmp_path: Path) -> None:
    store("write", "doc:0#reader@user:old")
    (tmp_path / "changes.txt").write_text("doc:2#reader@user:ann\r\n\ndelete doc:0#reader@user:old\n")
    done = store(
        "write",
        "create doc:1#reader@user:ann",
        "-f",
        "changes.txt",
        "-f",
        "-",
        stdin="touch doc:3#reader@user:ann",
    )
    assert done.code == 0, done.err
    assert stored(store) == {f"doc:{n}#reader@user:ann" for n in (1, 2, 3)}


def test_a_pipe_is_read_without_being_named(store: Any) -> None:
    assert store("write", stdin="doc:1#reader@user:ann\n").code == 0
    assert stored(store) == {"doc:1#reader@user:ann"}


def test_nothing_is_written_where_one_line_is_wrong(store: Any) -> None:
    done = store("write", "-f", "-", stdin="doc:1#reader@user:ann\ndoc:2#reader@usr:ann\n")
    assert done.code == 2
    assert "usr" in done.err
    assert stored(store) == set()


def test_create_refuses_what_is_there(store: Any) -> None:
    assert store("write", "create doc:1#reader@user:ann").code == 0
    again = store("write", "create doc:1#reader@user:ann")
    assert again.code == 2
    assert "doc:1#reader@user:ann" in again.err


def test_preconditions(store: Any) -> None:
    lock = "doc:1#banned@user:lock"
    assert store("write", "doc:1#reader@user:ann", "--must-exist", lock).code == 2
    assert stored(store) == set()
    assert store("write", lock, "--must-not-exist", lock).code == 0
    assert store("write", "doc:1#reader@user:ann", "--must-not-exist", lock).code == 2
    assert store("write", "doc:1#reader@user:ann", "--must-exist", lock).code == 0


def test_a_write_repeated_under_its_key_does_nothing(store: Any) -> None:
    first = store("write", "doc:1#reader@user:ann", "--idempotency-key", "k", "--json")
    store("write", "delete doc:1#reader@user:ann")
    again = store("write", "doc:1#reader@user:ann", "--idempotency-key", "k", "--json")
    assert json.loads(first.out) == json.loads(again.out)
    assert stored(store) == set()


def test_the_zookie_is_all_that_is_printed(store: Any) -> None:
    zookie = store("write", "doc:1#reader@user:ann").out.strip()
    assert store("check", "doc:1", "view", "user:ann", "--at", zookie, "--exact").code == 0
