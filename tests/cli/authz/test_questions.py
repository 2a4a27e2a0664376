"""Questions: which exit code they give, at which moment they are asked, and pages that lose nothing."""

import json
from pathlib import Path
from typing import Any

import pytest


def tuples(weft: Any, *items: str) -> str:
    done = weft("write", *items, "--json")
    assert done.code == 0, done.err
    zookie: str = json.loads(done.out)["zookie"]
    return zookie


def test_a_question_is_asked_at_the_moment_that_was_named(store: Any) -> None:
    before = tuples(store, "doc:1#reader@user:ann")
    after = tuples(store, "delete doc:1#reader@user:ann")
    question = ["check", "doc:1", "view", "user:ann"]
    assert store(*question).code == 1
    assert store(*question, "--at", before).code == 1
    assert store(*question, "--at", before, "--exact").code == 0
    assert store(*question, "--at", after, "--exact").code == 1
    assert store(*question, "--latest").code == 1


@pytest.mark.parametrize(
    "question",
    [
        "check doc:1 view user:ann",
        "explain doc:1 view user:ann",
        "expand doc:1 view",
        "read doc",
        "list-objects doc view user:ann",
        "list-subjects doc:1 view user",
        "list-permissions doc:1 user:ann",
        "stats",
        "export -",
        "schema read",
    ],
)
def test_every_question_takes_a_moment(store: Any, question: str) -> None:
    before = tuples(store, "doc:1#reader@user:ann")
    there = store(question)
    tuples(store, "delete doc:1#reader@user:ann")
    then = store(*question.split(), "--at", before, "--exact")
    assert (then.code, then.out) == (0, there.out)
    if question != "schema read":
        assert store(question).out != there.out


@pytest.mark.parametrize("name", ["check doc:1 view user:ann", "list-objects doc view user:ann", "read doc"])
def test_a_question_makes_no_store(weft: Any, tmp_path: Path, name: str) -> None:
    done = weft(name)
    assert done.code == 2
    assert "there is no tuple store in `.weft/authz`" in done.err
    assert list(tmp_path.iterdir()) == []


def test_the_store_is_where_the_settings_say(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuples(store, "doc:1#reader@user:ann")
    assert (tmp_path / ".weft" / "authz").is_dir()
    monkeypatch.setenv("WEFT_DATA", "elsewhere")
    assert store("check doc:1 view user:ann").code == 2
    assert store("check doc:1 view user:ann --data .weft/authz").code == 0


@pytest.mark.parametrize("limit", [1, 2, 7, 25, 100])
@pytest.mark.parametrize(
    ("question", "key"),
    [
        ("read doc", "tuple"),
        ("list-objects doc view user:ann", "object"),
        ("list-subjects doc:all view user", "user"),
    ],
)
def test_pages_together_are_the_whole_list_whatever_their_size(
    store: Any, question: str, key: str, limit: int
) -> None:
    written = [f"doc:{number:02}#reader@user:ann" for number in range(12)]
    written += [f"doc:all#reader@user:u{number:02}" for number in range(13)]
    tuples(store, *written)
    [whole, end] = items(store(f"{question} --json --limit 1000").out, key)
    assert len(whole) in (12, 13, 25)
    assert end["complete"] is True
    paged: list[str] = []
    cursor: list[str] = []
    while True:
        [page, end] = items(store(*question.split(), "--json", f"--limit={limit}", *cursor).out, key)
        assert len(page) <= limit
        paged += page
        if end["complete"]:
            break
        cursor = [f"--cursor={end['cursor']}"]
        tuples(store, f"doc:{len(paged):02}x#reader@user:late")  # a list goes on at its first page's moment
    assert paged == whole
    [streamed, end] = items(store(f"{question} --json --all --limit {limit}").out, key)
    assert end["complete"] is True
    assert set(whole) <= set(streamed)


def items(text: str, key: str) -> list[Any]:
    *lines, end = map(json.loads, text.splitlines())
    return [[line[key] for line in lines], end]


def test_a_terminal_does_not_obey_what_is_in_an_id(store: Any) -> None:
    tuples(store, "doc:\x1b[2J#reader@user:\x9bann".replace("[", "\\["))
    for question in ("read", "stats", "list-subjects doc:\x1b\\[2J view user", "expand doc:\x1b\\[2J view"):
        words = question.split(" ")
        done = store(*words) if len(words) > 1 else store(question)
        assert done.code == 0, done.err
        assert "\x1b" not in done.out
        assert "\x9b" not in done.out
    assert "\\x1b" in store("read").out
    refused = store("check", "doc:1", "view\x1b[2J\n", "user:ann")
    assert (refused.code, refused.err.count("\n"), "\x1b" in refused.err) == (2, 1, False)


def test_a_table_is_as_wide_as_what_is_in_it(store: Any) -> None:
    long = "x" * 900
    tuples(store, f"doc:{long}#reader@user:{long}")
    assert f"doc:{long}   reader     user:{long}\n" in store("read").out


def test_usage_mistakes_exit_with_2(weft: Any) -> None:
    assert weft("check doc:1").code == 2
    assert weft("chekc doc:1 view user:ann").code == 2
    assert weft("schema write --language cobol").code == 2
