"""The index finds what is there, as it is now, and nothing that may not be seen."""

from __future__ import annotations

import math
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weft.agent.context import CodeIndex
from weft.agent.context.bm25 import Bm25
from weft.agent.context.chunks import MAX_CHUNK_LINES, chunks_of
from weft.agent.context.files import Folder
from weft.agent.context.parse import parse_source
from weft.agent.context.terms import of_word, query_terms, stem, terms
from weft.core.errors import NotFound

RETRY = '''\
"""Waiting between attempts."""

import random


class Backoff:
    """How long to wait."""

    def delay_s(self, attempt: int) -> float:
        return self.base_s * 2**attempt

    def with_jitter(self, attempt: int) -> float:
        # spread the herd
        return random.uniform(0, self.delay_s(attempt))


def call_with_retries(call, backoff):
    for attempt in range(5):
        try:
            return call()
        except OSError:
            sleep(backoff.delay_s(attempt))
'''
USER = (
    "from lib.retry import Backoff, call_with_retries\n\n\ndef main():\n    call_with_retries(go, Backoff())"
)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    (root / "lib").mkdir(parents=True)
    (root / "lib/retry.py").write_text(RETRY)
    (root / "main.py").write_text(USER)
    (root / "docs.md").write_text("# Notes\n\nNothing about that here.\n")
    (root / "build").mkdir()
    (root / "build/retry.py").write_text(RETRY)
    (root / ".gitignore").write_text("build/\n")
    return root


def test_a_question_finds_the_definition_and_says_why(repository: Path) -> None:
    hits = CodeIndex.open(repository).search("why do retries ignore the jitter?", limit=5)
    assert hits[0].path == "lib/retry.py"
    assert {hit.path for hit in hits} <= {"lib/retry.py", "main.py"}
    jitter = next(hit for hit in hits if hit.name == "Backoff.with_jitter" or "jitter" in hit.why)
    assert jitter.lines[0] <= 12 <= jitter.lines[1]
    assert "jitter" in jitter.why
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_files_that_change_come_and_go_are_seen_at_once(repository: Path) -> None:
    index = CodeIndex.open(repository)
    assert index.search("quokka") == []
    (repository / "new.py").write_text("def quokka():\n    pass\n")
    assert [hit.path for hit in index.search("quokka")] == ["new.py"]
    (repository / "new.py").write_text("def wallaby():\n    pass  # other\n")
    assert index.search("quokka") == []
    assert index.search("wallaby")[0].name == "wallaby"
    (repository / "new.py").rename(repository / "moved.py")
    assert [hit.path for hit in index.search("wallaby")] == ["moved.py"]
    (repository / "moved.py").unlink()
    assert index.search("wallaby") == []


def test_a_file_that_was_only_touched_is_not_indexed_again(repository: Path) -> None:
    index = CodeIndex.open(repository)
    assert index.refresh() == 4
    (repository / "main.py").write_text(USER)
    assert index.refresh() == 0


def test_what_is_ignored_becomes_visible_with_its_rule(repository: Path) -> None:
    index = CodeIndex.open(repository)
    assert "build/retry.py" not in {hit.path for hit in index.search("jitter", 50)}
    (repository / ".gitignore").write_text("")
    assert "build/retry.py" in {hit.path for hit in index.search("jitter", 50)}
    (repository / ".gitignore").write_text("lib\n")
    assert "lib/retry.py" not in {hit.path for hit in index.search("jitter", 50)}


def test_hidden_files_are_not_counted_in_the_limit(repository: Path) -> None:
    index = CodeIndex.open(repository)
    hits = index.search("retry", limit=1, allowed=lambda path: path != "lib/retry.py")
    assert [hit.path for hit in hits] == ["main.py"]
    uses = index.references("Backoff", allowed=lambda path: path != "main.py").lines
    assert {use.path for use in uses} == {"lib/retry.py"}


def test_an_overlay_stands_in_place_of_the_folder_for_those_who_ask_with_it(repository: Path) -> None:
    index = CodeIndex.open(repository)
    changed = {"lib/retry.py": None, "fresh.py": b"def quokka(): pass\n", "main.py": b"x = 1\n"}
    for _ in range(2):
        with index.seeing(changed):
            assert index.search("jitter") == []
            assert [hit.path for hit in index.search("quokka")] == ["fresh.py"]
            assert index.refresh() == 0
        assert index.search("quokka") == []
        assert index.search("jitter") != []


def test_symbols_are_found_by_name_by_qualified_name_and_by_what_is_like_them(repository: Path) -> None:
    index = CodeIndex.open(repository)
    assert [s.definition.qualified_name for s in index.symbols("delay_s")] == ["Backoff.delay_s"]
    assert index.symbols("Backoff.delay_s")[0].path == "lib/retry.py"
    assert index.symbols("Backoff::delay_s") == index.symbols("Backoff.delay_s")
    assert index.symbols("BACKOFF")[0].definition.name == "Backoff"
    assert [s.definition.name for s in index.symbols("with_ret")] == ["call_with_retries"]
    assert index.symbols("Backoff", allowed=lambda path: path == "main.py") == []
    assert index.symbols("nothing_like_it") == []


def test_references_are_told_apart(repository: Path) -> None:
    uses, complete = CodeIndex.open(repository).references("call_with_retries")
    assert complete
    assert [(use.path, use.line, use.how) for use in uses] == [
        ("lib/retry.py", 17, "definition"),
        ("main.py", 5, "call"),
        ("main.py", 1, "import"),
    ]
    assert uses[1].enclosing == "main"
    assert CodeIndex.open(repository).references("retries").lines == []


def test_binary_long_and_generated_files_are_found_by_path_alone(repository: Path) -> None:
    (repository / "picture.bin").write_bytes(b"quokka\0quokka")
    (repository / "quokka.min.js").write_text("var quokka=1;" * 2_000)
    hits = CodeIndex.open(repository).search("quokka picture")
    assert [(hit.path, hit.why.split(":")[0]) for hit in hits] == [
        ("picture.bin", "path"),
        ("quokka.min.js", "path"),
    ]


def test_what_is_more_than_an_index_holds_is_found_by_path(repository: Path, monkeypatch) -> None:
    monkeypatch.setattr("weft.agent.context.index.MAX_INDEX_BYTES", len(RETRY) + 60)
    index = CodeIndex.open(repository)
    assert "jitter" in index.search("jitter")[0].why
    assert [hit.why for hit in index.search("main")] == ["path: main"]
    (repository / "lib/retry.py").unlink()
    (repository / "main.py").write_text(USER + "\n")
    assert "text" in index.search("main")[0].why


def test_links_are_not_followed(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.py").write_text("def quokka(): pass\n")
    (repository / "link.py").symlink_to(tmp_path / "secret.py")
    (repository / "loop").symlink_to(repository)
    assert CodeIndex.open(repository).search("quokka") == []


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        CodeIndex.open(tmp_path / "none")


WORDS = st.lists(st.sampled_from(["alpha", "beta", "gamma", "delta", "epsilon", "zeta"]), max_size=8)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 5), st.none() | WORDS), max_size=25), WORDS)
def test_a_live_index_ranks_like_one_that_was_just_made(changes, asked) -> None:
    class InMemory:
        def __init__(self) -> None:
            self.now: dict[str, tuple[int, bytes]] = {}

        def files(self):
            return [(path, stamp) for path, (stamp, _) in sorted(self.now.items())]

        def read(self, path: str) -> bytes:
            return self.now[path][1]

    folder = InMemory()
    live = CodeIndex(folder)  # type: ignore[arg-type]
    for stamp, (number, words) in enumerate(changes):
        path = f"{number}.txt"
        folder.now.pop(path, None)
        if words is not None:
            folder.now[path] = (stamp, "\n\n".join(words).encode())
        live.refresh()
        if stamp % 7 == 3:
            live._compact()
    fresh = CodeIndex(folder)  # type: ignore[arg-type]
    question = " ".join(asked)
    found, expected = (
        sorted((hit.path, hit.lines, hit.score, hit.why) for hit in index.search(question, 100))
        for index in (live, fresh)
    )
    assert [row[:2] + row[3:] for row in found] == [row[:2] + row[3:] for row in expected]


@given(st.lists(WORDS, max_size=12), st.sets(st.integers(0, 11)), WORDS)
def test_bm25_is_its_formula(units, dropped, asked) -> None:
    index = Bm25()
    for number, words in enumerate(units):
        index.add(number, words)
    for number in dropped:
        index.drop(number)
    alive = {n: Counter(words) for n, words in enumerate(units) if words and n not in dropped}
    index.compact({old: new for new, old in enumerate(sorted(alive))})
    mean = sum(c.total() for c in alive.values()) / len(alive) if alive else 0.0

    def idf(term: str) -> float:
        having = sum(term in counts for counts in alive.values())
        return math.log(1 + (len(alive) - having + 0.5) / (having + 0.5))

    ideal = sum(2.2 * idf(term) for term in set(asked))
    expected = {
        new: sum(
            idf(term) * 2.2 * counts[term] / (counts[term] + 1.2 * (0.6 + 0.4 * counts.total() / mean))
            for term in set(asked)
        )
        / ideal
        for new, (_, counts) in enumerate(sorted(alive.items()))
        if asked and set(asked) & counts.keys()
    }
    scores = index.scores(set(asked))
    assert scores == pytest.approx(expected)
    assert all(0 < score < 1 for score in scores.values())


@given(st.text(alphabet="def class():\n\t xyA_", max_size=300) | st.just(RETRY * 10))
def test_chunks_hold_every_line_once(text: str) -> None:
    lines = text.split("\n")
    parsed = parse_source("a.py", text)
    assert parsed is not None
    chunks = chunks_of(lines, parsed.definitions)
    numbers = [n for chunk in chunks for n in range(chunk.start_line, chunk.end_line + 1)]
    assert numbers == sorted(set(numbers))
    assert {n for n, line in enumerate(lines, 1) if line.strip()} <= set(numbers)
    assert all(chunk.end_line - chunk.start_line < MAX_CHUNK_LINES for chunk in chunks)


def test_words_are_split_and_stemmed() -> None:
    assert of_word("parseHTTPHeaders") == ("parsehttpheaders", "pars", "http", "header")
    assert of_word("_delay_s") == ("delay_s", "delay")
    assert of_word("Utf8Codec") == ("utf8codec", "utf", "codec")
    assert {stem(w) for w in ("ignore", "ignored", "ignores", "ignoring")} == {"ignor"}
    assert {stem(w) for w in ("retry", "retries", "retrying", "retried")} == {"retri"}
    assert {stem(w) for w in ("zookie", "zookies")} == {"zooki"}
    assert {stem(w) for w in ("stop", "stops", "stopped", "stopping")} == {"stop"}
    assert [stem(w) for w in ("delay", "key", "thing", "need", "bed", "this")] == [
        "delay",
        "key",
        "thing",
        "need",
        "bed",
        "this",
    ]
    assert stem("class") == "class"
    assert stem("status") == "status"
    assert query_terms("Why does the retry ignore jitter?") == {
        "retri": "retry",
        "ignor": "ignore",
        "jitter": "jitter",
    }
    assert query_terms("what is it") != {}
    assert terms("größe naïve") == ["größe", "naïve"]


NAMES = st.sampled_from(["a", "b.txt", "c.py", "d"])
RULES = st.lists(
    st.sampled_from(["*.txt", "!b.txt", "/a", "a/", "d/*.py", "**/d", "!/d/c.py", "# no", "c.*", "d/**/a"]),
    max_size=4,
)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    paths=st.sets(st.lists(NAMES, min_size=1, max_size=3).map(tuple), min_size=1, max_size=8),
    rules=RULES,
    inner=RULES,
)
def test_files_are_ignored_as_git_ignores_them(paths, rules, inner, tmp_path_factory) -> None:
    root = tmp_path_factory.mktemp("tree")
    for path in paths:
        target = root.joinpath(*path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text("x")
        except OSError:
            continue
    (root / ".gitignore").write_text("\n".join(rules) + "\n")
    if (root / "d").is_dir():
        (root / "d/.gitignore").write_text("\n".join(inner) + "\n")
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    listed = subprocess.run(
        ["git", "-c", "core.excludesFile=", "ls-files", "-co", "--exclude-standard"],
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert sorted(path for path, _ in Folder(root).files()) == sorted(listed)
