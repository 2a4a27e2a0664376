"""`weft authz test`: what holds passes, whatever does not is found, and a wrong file names the place."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.cli.authz.testing.command import read_cases
from weft.cli.authz.testing.suite import run
from weft.cli.authz.testing.yaml_source import load_yaml
from weft.core.errors import WeftError

EXAMPLES = Path(__file__).parents[3] / "examples" / "authz"
SPICEDB = (EXAMPLES / "documents.yaml").read_text()
OPENFGA = (EXAMPLES / "bookings.fga.yaml").read_text()


def outcomes(folder: Path, text: str, name: str = "it.yaml") -> list[tuple[str, bool]]:
    """The place of each assertion, and whether it held."""
    (folder / name).write_text(text)
    (folder / "bookings.fga").write_text((EXAMPLES / "bookings.fga").read_text())
    cases = read_cases(load_yaml(folder / name))
    found = [outcome for case in cases for outcome in run(case)]
    return [(outcome.assertion.place.rpartition(":")[2], outcome.fault is None) for outcome in found]


@pytest.mark.parametrize("text", [SPICEDB, OPENFGA], ids=["spicedb", "openfga"])
def test_the_examples_hold(text: str, tmp_path: Path) -> None:
    found = outcomes(tmp_path, text)
    assert len(found) >= 11
    assert all(held for _, held in found)


def test_the_examples_are_run_as_their_first_line_says() -> None:
    for file in sorted(EXAMPLES.glob("*.yaml")):
        said = re.match(r"# Run with: weft (.*?)   \(", file.read_text())
        assert said is not None
        command = [sys.executable, "-m", "weft", *said[1].split()]
        done = subprocess.run(command, cwd=EXAMPLES.parents[1], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert ", 0 failed in " in done.stdout


def lines_with(text: str, pattern: str) -> list[int]:
    return [number for number, line in enumerate(text.splitlines(), 1) if re.search(pattern, line)]


def changed(text: str, number: int, old: str, new: str) -> str:
    lines = text.splitlines(keepends=True)
    lines[number - 1] = re.sub(old, new, lines[number - 1])
    return "".join(lines)


@pytest.mark.parametrize("number", lines_with(OPENFGA, r": (true|false)$"))
def test_every_check_turned_round_fails_where_it_stands(number: int, tmp_path: Path) -> None:
    now = "false" if "true" in OPENFGA.splitlines()[number - 1] else "true"
    found = outcomes(tmp_path, changed(OPENFGA, number, "true|false", now))
    assert {place for place, held in found if not held} == {str(number)}


@pytest.mark.parametrize("number", lines_with(SPICEDB, r"^    - .*#\w+@"))
def test_every_assertion_under_another_heading_fails_where_it_stands(number: int, tmp_path: Path) -> None:
    lines = SPICEDB.splitlines()
    heading = next(lines[at] for at in range(number - 1, 0, -1) if lines[at].startswith("  assert"))
    other = next(h for h in ("  assertTrue:", "  assertFalse:") if h != heading)
    moved = lines.pop(number - 1)
    at = lines.index(other) + 1
    lines.insert(at, moved)
    found = outcomes(tmp_path, "\n".join(lines))
    assert [place for place, held in found if not held] == [str(at + 1)]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[user:ines] is <team:design#member>", "[user:ines] is <team:studio#member>"),
        ("[user:ines] is <team:design#member>", "[user:ines] is <team:design#member>/<team:studio#member>"),
        ("[user:ines] is <team:design#member>", "[user:ines[...]] is <team:design#member>"),
        ("[user:piet] is <document:logo#author>", "[user:omar] is <folder:brand#owner>"),
        ("[team:studio#member] is <folder:brand#owner>", "[team:other#member] is <folder:brand#owner>"),
        ("[user:nora[...]]", "[user:nora]"),
        ("[user:* - {user:troll}]", "[user:*]"),
        ("[user:* - {user:troll}]", "[user:* - {user:troll, user:omar}]"),
    ],
)
def test_expected_relations_are_held_to_user_condition_source_and_exception(
    old: str, new: str, tmp_path: Path
) -> None:
    assert SPICEDB.count(old) == 1
    found = outcomes(tmp_path, SPICEDB.replace(old, new))
    assert [held for _, held in found].count(False) == 1


def test_a_source_that_only_takes_away_is_none(tmp_path: Path) -> None:
    """omar is blocked from the folder, which `open` subtracts; he reads the logo all the same."""
    more = SPICEDB.replace("  // documents\n", "  document:logo#reader@user:omar\n")
    more = more.replace('    - "document:logo#read@user:omar"\n', "")
    assert [held for _, held in outcomes(tmp_path, more)].count(False) == 1
    listed = '    - "[user:piet] is <document:logo#author>"\n'
    more = more.replace(listed, listed + '    - "[user:omar] is <document:logo#reader>"\n')
    assert all(held for _, held in outcomes(tmp_path, more))


ALGEBRA = """
schema: |-
  caveat late(hour int) { hour > 20 }
  definition user {}
  definition doc {
    relation parent: doc
    relation a: user | user:*
    relation b: user | user with late
    relation c: user
    permission minus = (a - b) + c
    permission both = a & c
    permission nested = (a & c) + b
    permission every = parent.all(a)
  }
relationships: |-
  doc:1#a@user:abc
  doc:1#b@user:abc
  doc:1#c@user:abc
  doc:1#a@user:a
  doc:1#b@user:ab
  doc:1#a@user:ab
  doc:2#a@user:*
  doc:2#c@user:c
  doc:2#b@user:c[late]
  doc:4#a@user:ab
  doc:4#b@user:ab
  doc:3#parent@doc:1
  doc:3#parent@doc:2
validation:
  doc:1#minus: ["[user:abc] is <doc:1#c>", "[user:a] is <doc:1#a>"]
  doc:1#both: ["[user:abc] is <doc:1#a>/<doc:1#c>"]
  doc:2#both: ["[user:c] is <doc:2#c>"]
  doc:2#minus: ["[user:*] is <doc:2#a>", "[user:c] is <doc:2#c>"]
  doc:4#nested: ["[user:ab] is <doc:4#b>"]
  doc:2#nested: ["[user:c] is <doc:2#b>/<doc:2#c>"]
  doc:3#every: ["[user:abc] is <doc:1#a>", "[user:a] is <doc:1#a>", "[user:ab] is <doc:1#a>"]
"""


def test_sources_follow_the_algebra_of_sets(tmp_path: Path) -> None:
    assert [held for _, held in outcomes(tmp_path, ALGEBRA)] == [True] * 7


def test_a_user_that_is_not_expected_is_found(tmp_path: Path) -> None:
    less = SPICEDB.replace('    - "[user:piet] is <document:logo#author>"\n', "")
    assert [held for _, held in outcomes(tmp_path, less)].count(False) == 1


def test_a_userset_need_not_be_listed(tmp_path: Path) -> None:
    less = SPICEDB.replace('    - "[team:studio#member] is <folder:brand#owner>"\n', "")
    assert all(held for _, held in outcomes(tmp_path, less))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("            - cabin:7\n", ""),
        ("            - cabin:7\n", "            - cabin:7\n            - cabin:8\n"),
        ("          barred: []", "          barred: [cabin:7]"),
        ("              - user:vera\n", ""),
        ("              - user:vera\n", "              - user:vera\n              - user:mona\n"),
        ("              - user:*\n", ""),
    ],
)
def test_lists_are_held_to_exactly_what_is_expected(old: str, new: str, tmp_path: Path) -> None:
    assert old in OPENFGA
    found = outcomes(tmp_path, OPENFGA.replace(old, new))
    assert [held for _, held in found].count(False) == 1


def test_a_failure_says_what_was_expected_what_came_and_why(weft: Any, tmp_path: Path) -> None:
    (tmp_path / "it.yaml").write_text(SPICEDB.replace("logo#read@user:omar", "logo#read@user:piet"))
    done = weft("test it.yaml")
    assert done.code == 1
    lines = done.out.splitlines()
    assert lines[0] == "it.yaml: 11 passed, 1 failed"
    assert lines[2:6] == [
        "FAILED it.yaml:51",
        "  document:logo#read@user:piet is denied",
        "  expected: denied",
        "  came:     allowed",
    ]
    assert "allowed: by `document:logo#author@user:piet`" in done.out
    assert lines[-1].startswith("11 passed, 1 failed in ")
    *assertions, summary = map(json.loads, weft("test it.yaml --json").out.splitlines())
    assert summary == {"passed": 11, "failed": 1}
    [failed] = [found for found in assertions if not found["ok"]]
    assert (failed["place"], failed["expected"], failed["came"]) == ("it.yaml:51", "denied", "allowed")


def test_a_question_that_cannot_be_asked_has_failed(weft: Any, tmp_path: Path) -> None:
    (tmp_path / "it.yaml").write_text(SPICEDB.replace("news#read@user:anybody", "news#red@user:anybody"))
    done = weft("test it.yaml")
    assert done.code == 1
    assert "came:     error: namespace `document` has no relation `red`; did you mean `read`?" in done.out


def test_each_test_has_a_store_of_its_own(tmp_path: Path) -> None:
    """The last test bars lars from cabin 7; the first one, run after it, is not to see that."""
    head, first, *others = re.split(r"(?m)^(?=  - name: )", OPENFGA)
    assert all(held for _, held in outcomes(tmp_path, "".join([head, *reversed(others), "\n", first])))


SCHEMA = "schema: |-\n  definition user {}\n  definition doc { relation reader: user }\n"
CHECKED = "assertions:\n  assertTrue:\n    - doc:1#reader@user:ann\n"
MODEL = (
    "model: |\n  model\n    schema 1.1\n  type user\n  type doc\n    relations\n      define reader: [user]\n"
)
TEST = "tests:\n  - name: one\n    check:\n      - user: user:ann\n        object: doc:1\n"
READER = "        assertions:\n          reader: false\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "it.yaml: the file is empty"),
        ("a: [1", "it.yaml:1: not YAML: expected ',' or ']'"),
        ("[" * 3_000, "it.yaml: not YAML: "),
        ("- a", "it.yaml:1: a test file is not a mapping"),
        (
            "other: 1",
            "it.yaml:1: neither a SpiceDB validation file nor an OpenFGA store file; write `schema`",
        ),
        (SCHEMA, "it.yaml:1: nothing is asserted; write `assertions` or `validation`"),
        (CHECKED, "it.yaml:1: the schema is given twice or not at all"),
        (SCHEMA + "schemaFile: x\n" + CHECKED, "the schema is given twice"),
        ("schemaFile: gone.zed\n" + CHECKED, "there is no file `gone.zed`"),
        (
            SCHEMA + CHECKED + SCHEMA,
            "it.yaml:7: `schema` stands twice in a test file; keep one of them",
        ),
        (
            SCHEMA + "relationship: ''\n" + CHECKED,
            "it.yaml:4: a validation file has no `relationship`; did you",
        ),
        (SCHEMA + "assertions:\n  assertTru: []", "it.yaml:5: `assertions` has no `assertTru`; did you mean"),
        (SCHEMA + "assertions:\n  assertTrue: yes", "it.yaml:5: `assertTrue` is not a list"),
        (SCHEMA + "assertions:\n  assertTrue:\n  - {a: b}", "it.yaml:6: an assertion is not a text"),
        (
            SCHEMA + "assertions:\n  assertTrue:\n  - doc:1#reader",
            "it.yaml:6: relation tuple `doc:1#reader` lacks",
        ),
        (
            SCHEMA + "assertions:\n  assertTrue:\n  - 'doc:1#reader@user:ann with {1}'",
            "it.yaml:6: the context of",
        ),
        (
            SCHEMA + "assertions:\n  assertTrue:\n  - 'doc:1#reader@user:ann[c]'",
            "it.yaml:6: assertion `doc:1#",
        ),
        (
            SCHEMA + CHECKED + "relationships: |-\n\n  // x\n  doc:1#x\n",
            "it.yaml:10: relation tuple `doc:1#x`",
        ),
        (
            SCHEMA + CHECKED + "relationships: |-\n  doc:1#red@user:a\n",
            "it.yaml:8: namespace `doc` has no relation",
        ),
        (SCHEMA + CHECKED + "validation:\n  doc:1: []\n", "it.yaml:8: `doc:1` is not `object#relation`"),
        (
            SCHEMA + CHECKED + "validation:\n  doc:1#reader: [x]\n",
            "it.yaml:8: `x` is not an expected relation",
        ),
        (
            SCHEMA.replace("reader: user", "reader: usr") + CHECKED,
            "it.yaml: line 3, column 35: namespace `usr`",
        ),
        (MODEL, "it.yaml:1: there are no tests"),
        (TEST + READER, "it.yaml:1: the model is given twice or not at all"),
        (MODEL + TEST, "it.yaml:11: `assertions` is missing; write `assertions: …`"),
        (MODEL + "tests:\n  - name: one\n", "it.yaml:9: test `one` asserts nothing"),
        (MODEL + "tests:\n  - check: []\n", "it.yaml:9: `name` is missing"),
        (
            MODEL + TEST + "        assertions: {reader: 1}\n",
            "it.yaml:13: what is expected of `reader` is neither",
        ),
        (MODEL + TEST + "        users: []\n" + READER, "it.yaml:11: both `user` and `users` are given"),
        (MODEL + TEST.replace("user:ann", "ann") + READER, "it.yaml:11: `ann` is not an object"),
        (
            MODEL + TEST + "        context: {a: !!binary x}\n" + READER,
            "it.yaml:13: `tag:yaml.org,2002:binary`",
        ),
        (
            MODEL + TEST + READER + "tuples:\n  - user: user:ann\n    relation: x\n",
            "it.yaml:16: `object` is missing",
        ),
        (MODEL + TEST + READER + "tuple_file: t.txt\n", "it.yaml:15: `t.txt` is neither YAML, JSON nor CSV"),
        (MODEL + TEST + READER + "tuple_file: t.yaml\n", "there is no file `t.yaml`"),
        ("model_file: fga.mod\n" + TEST + READER, "it.yaml:1: `fga.mod` lists modules"),
        (MODEL.replace("[user]", "[usr]") + TEST + READER, "it.yaml: line 7, column 21: namespace `usr`"),
    ],
)
def test_a_wrong_file_is_refused_with_place_and_remedy(
    text: str, says: str, weft: Any, tmp_path: Path
) -> None:
    (tmp_path / "it.yaml").write_text(text)
    done = weft("test it.yaml")
    assert (done.code, done.out) == (2, ""), done.out
    assert done.err.splitlines()[0].startswith(f"weft: {says}") or says in done.err.splitlines()[0], done.err


def test_tuples_and_schemas_come_from_files_beside(weft: Any, tmp_path: Path) -> None:
    folder = tmp_path / "below"
    folder.mkdir()
    (folder / "it.yaml").write_text("schemaFile: s.zed\nrelationships: doc:1#reader@user:ann\n" + CHECKED)
    (folder / "s.zed").write_text("definition user {} definition doc { relation reader: user }")
    assert weft("test below/it.yaml").code == 0
    (folder / "t.yaml").write_text("- {user: user:ann, relation: reader, object: doc:1}")
    (folder / "t.json").write_text('[{"user": "user:bob", "relation": "reader", "object": "doc:1"}]')
    text = (
        MODEL
        + "tuple_files: [t.yaml, t.json]\n"
        + TEST.replace("user: user:ann", "users: [user:ann, user:bob]")
    )
    (folder / "it.yaml").write_text(text + READER.replace("false", "true"))
    assert weft("test below/it.yaml").code == 0
    (folder / "t.json").write_text('[{"user": "usr:bob", "relation": "reader", "object": "doc:1"}]')
    assert "weft: below/t.json:1: tuple `doc:1#reader@usr:bob`" in weft("test below/it.yaml").err


HEAD = "user_type,user_id,user_relation,relation,object_type,object_id,condition_name,condition_context\n"


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (HEAD + "user,ann,,reader,doc,1,,\n", ""),
        (HEAD + 'user,ann,,guest,doc,1,late,"{""hour"": 22}"\n', ""),
        ("object_id,object_type,relation,user_id,user_type\n1,doc,reader,ann,user\n", ""),
        (HEAD + "user,ann,,guest,doc,1,late,\n", "did not hold"),
        (HEAD, "did not hold"),
        ("user,relation,object\n", "t.csv:1: the columns are not those of tuples; name user_type"),
        ("", "t.csv:1: the columns are not those of tuples"),
        (HEAD + "\nuser,,,reader,doc,1,,\n", "t.csv:3: an object's id is empty"),
        (HEAD + "usr,ann,,reader,doc,1,,\n", "t.csv:2: tuple `doc:1#reader@usr:ann` is not one"),
        (HEAD + "user,ann,,reader,doc,1,,,,\n", "t.csv:2: there are more values than columns"),
        (HEAD + "user,ann,,guest,doc,1,late,{1}\n", "t.csv:2: the context of a condition is not JSON"),
        (HEAD + 'user,ann,,reader,doc,"1"1,,\n', "t.csv:2: not CSV"),
    ],
)
def test_tuples_may_stand_in_a_table(table: str, says: str, weft: Any, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(table)
    model = MODEL.replace("[user]", "[user] or guest\n      define guest: [user with late]")
    model += "  condition late(hour: int) { hour > 20 }\n"
    text = model + "tuple_file: t.csv\n" + TEST + READER.replace("false", "true")
    (tmp_path / "it.yaml").write_text(text)
    done = weft("test it.yaml")
    assert done.code == {"": 0, "did not hold": 1}.get(says, 2), done.out + done.err
    assert says in done.err or done.code < 2


def test_aliases_do_not_multiply(weft: Any, tmp_path: Path) -> None:
    """A billion laughs in a context, and an alias that holds itself."""
    laughs = "".join(f"        l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 12))
    context = "        context:\n          l0: &l0 [x]\n" + laughs.replace("        l", "          l")
    (tmp_path / "it.yaml").write_text(MODEL + TEST + context + READER)
    assert "too large or nested too deeply" in weft("test it.yaml").err
    (tmp_path / "it.yaml").write_text(MODEL + TEST + "        context: &c {a: *c}\n" + READER)
    assert weft("test it.yaml").code == 2


@given(data=st.data())
def test_whatever_the_file_it_is_read_or_refused(data: st.DataObject, tmp_path_factory: Any) -> None:
    text = data.draw(st.sampled_from([SPICEDB, OPENFGA]))
    lines = text.splitlines()
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(lines) - 1))
        lines[at] = data.draw(
            st.sampled_from(
                ["", lines[at][2:], f"  {lines[at]}", lines[at].replace(":", ""), "- x", "*a", "{"]
            )
            | st.text(max_size=20)
        )
    try:
        outcomes(tmp_path_factory.getbasetemp(), "\n".join(lines), "fuzzed.yaml")
    except WeftError as error:
        refused = str(error)
    else:
        refused = ""
    assert "\n" not in refused
