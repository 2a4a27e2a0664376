"""What a model replied is written down, and replays as it was."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.agent.models import Message, Opaque, ToolCall, ToolSpec, Usage, collect, open_model
from weft.agent.models.protocol import Reply
from weft.agent.models.recorded import recorded, step_of
from weft.agent.models.scripted import Script, ScriptedModel
from weft.agent.secrets import MARK
from weft.core.errors import Conflict, Unavailable
from weft.testing.agent import ModelContract, call, scripted, step
from weft.testing.model_server import reply

TOOLS = [ToolSpec(name, name, {"type": "object"}) for name in ("a", "b")]
TASK = Message("user", "go")


class TestRecordedModel(ModelContract):
    @pytest.fixture
    def model(self, tmp_path: Path) -> Any:
        return recorded(scripted(step(call("list_dir", path="."), say="Looking.")), tmp_path / "r.json")


def test_a_session_over_the_wire_replays_without_it(connect: Any, tmp_path: Path) -> None:
    path = tmp_path / "session.json"
    model, _ = connect(
        reply("Looking.", ToolCall("x1", "a", '{"p": 1}'), ToolCall("x2", "b", '{"brok'), reasoning="hm"),
        reply("cut o", stop="cut", usage=Usage(9, 8, 7)),
    )
    recording = recorded(model, path)
    first = collect(recording.stream([TASK], TOOLS))
    history = [TASK, Message("assistant", first.text, first.calls, opaque=first.opaque)]
    history += [Message("tool", "r", call_id=made.id) for made in first.calls]
    second = collect(recording.stream(history, TOOLS))
    replay = open_model(f"scripted:{path}")
    assert collect(replay.stream([TASK], TOOLS)) == first
    assert collect(replay.stream(history, TOOLS)) == second
    assert replay.scripted
    assert not recording.scripted


REPLIES = st.builds(
    Reply,
    text=st.text(max_size=9),
    reasoning=st.text(max_size=9),
    calls=st.lists(
        st.builds(
            ToolCall,
            id=st.uuids().map(str),
            name=st.sampled_from("ab"),
            arguments=st.sampled_from(['{"x":1}', '{"x": 1}', "{}", "", "[1]", "no", '{"a":{"b":[1,null]}}']),
        ),
        max_size=3,
    ).map(tuple),
    usage=st.builds(Usage, *[st.integers(0, 9)] * 6),
    stop=st.sampled_from(["cut", "refused"]),
    opaque=st.none() | st.builds(Opaque, st.just("m"), st.just("[1]")),
)


@given(REPLIES)
def test_any_reply_replays_as_it_was(made: Reply) -> None:
    script = msgspec.json.decode(msgspec.json.encode(Script([step_of(made)])), type=Script)
    assert collect(ScriptedModel(script).stream([TASK], TOOLS)) == made


def test_secrets_do_not_get_into_a_recording(tmp_path: Path) -> None:
    path, secret = tmp_path / "r.json", "ghp_" + "a" * 36
    collect(
        recorded(scripted(step(call("a", key=secret), say=f"the key is {secret}")), path).stream(
            [TASK], TOOLS
        )
    )
    assert secret not in path.read_text()
    assert path.read_text().count(MARK) == 2


def test_asking_again_writes_the_step_anew_and_forgets_what_came_after(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    recording = recorded(scripted(step(say="one"), step(say="two")), path)
    later = [TASK, Message("assistant", "one"), TASK]
    for history in ([TASK], later, [TASK]):
        collect(recording.stream(history, TOOLS))
    assert [made.say for made in Script.load(path).steps] == ["one"]


def test_a_reply_that_is_left_is_not_recorded(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    stream: Any = recorded(scripted(step(say="one")), path).stream([TASK], TOOLS)
    next(stream)
    stream.close()
    assert list(stream) == []
    assert not path.exists()


def test_a_recording_can_be_closed_from_another_thread(connect: Any, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    model, _ = connect(reply("never", stall_after="headers"))
    stream: Any = recorded(model, path).stream([TASK], TOOLS)
    threading.Timer(0.01, stream.close).start()
    with pytest.raises(Unavailable, match="cancelled"):
        next(stream)
    assert not path.exists()


def test_a_recording_begins_with_the_session(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text('{"steps": []}')
    with pytest.raises(Conflict, match="0 replies of a session that has 1"):
        recorded(scripted(step(), step()), path).stream([TASK, Message("assistant", "")], TOOLS)
