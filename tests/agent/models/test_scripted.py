"""The scripted model: the contract, honesty about what it sees, and its file."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from weft.agent.models import Message, Model, ToolSpec, collect, open_model
from weft.agent.models.scripted import OffScript
from weft.core.errors import Invalid
from weft.testing.agent import ModelContract, call, scripted, step


class TestScriptedModel(ModelContract):
    @pytest.fixture
    def model(self) -> Model:
        return scripted(step(call("list_dir", path="."), call("list_dir", path="src"), say="Looking."))


TOOLS = [ToolSpec("list_dir", "", {})]
START = [Message("user", "go")]


def test_the_reply_depends_on_how_many_came_before() -> None:
    model = scripted(step(say="one"), step(say="two", expect="seen"))
    later = [*START, Message("assistant", "one"), Message("tool", "seen", call_id="1")]
    assert collect(model.stream(later, TOOLS)).text == "two"
    assert collect(model.stream(START, TOOLS)).text == "one"


def test_what_was_seen_earlier_does_not_count_as_seen_now() -> None:
    model = scripted(step(say="one"), step(expect="go"))
    with pytest.raises(OffScript, match="expects `go`"):
        model.stream([*START, Message("assistant", "one"), Message("tool", "other", call_id="1")], TOOLS)


def test_a_call_of_an_unknown_tool_is_an_error_of_the_script() -> None:
    with pytest.raises(OffScript, match="calls `fly`"):
        scripted(step(call("fly"))).stream(START, TOOLS)


def test_a_file_is_a_script_and_its_name_says_scripted(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    path.write_bytes(msgspec.json.encode({"name": "short", "steps": [{"say": "hello"}]}))
    model = open_model(f"scripted:{path}")
    assert (model.name, model.scripted) == ("scripted:short", True)
    assert collect(model.stream(START, TOOLS)).text == "hello"
    path.write_text('{"steps": [{"shout": 1}]}')
    with pytest.raises(Invalid, match="is not a script"):
        open_model(f"scripted:{path}")


@pytest.mark.parametrize("url", ["", "scripted", "scripted:", "palm:gpt", ":x"])
def test_other_urls_are_refused_with_what_would_do(url: str) -> None:
    with pytest.raises(Invalid, match="scripted:"):
        open_model(url)
