"""The permissions of the data folder bound what the agent does, where their schema speaks of agents."""

import getpass
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from weft.authz import Authz
from weft.integrations.policy import SCHEMA, AuthzPolicy

ME = f"user:{getpass.getuser()}"


@pytest.fixture
def rights(tmp_path: Path) -> Callable[[Callable[[AuthzPolicy], object]], None]:
    """Gives rights to the workspace in a store whose schema has more than agents."""
    folder = str(tmp_path / ".weft" / "authz")
    with Authz.open(folder) as authz:
        authz.write_schema(SCHEMA + "\ndefinition team { relation member: user }", language="zed")

    def give(what: Callable[[AuthzPolicy], object]) -> None:
        with Authz.open(folder) as authz:
            what(AuthzPolicy(authz, "greeter"))

    return give


def test_without_rights_nothing_is_done(rights: Any, do: Any) -> None:
    done = do(options=("--steps", "2"))
    assert done.code == 1
    assert f"`{ME}` may not read `greeting.txt`" in done.out


def test_rights_of_the_person_are_the_sessions_but_for_landing(
    rights: Any, do: Any, weft: Any, workspace: Path
) -> None:
    rights(lambda policy: policy.grant(ME, "reader", "writer", "runner"))
    assert do().code == 0
    refused = weft("resume", "last", "--land", "yes", "--model", "chat:http://127.0.0.1:9/v1#none")
    assert refused.code == 1
    assert "the policy denied: land" in refused.out
    assert (workspace / "greeting.txt").read_text() == "helo\n"
    rights(lambda policy: policy.grant(ME, "lander"))
    assert weft("resume", "last", "--land", "yes", "--model", "chat:http://127.0.0.1:9/v1#none").code == 0
    assert (workspace / "greeting.txt").read_text() == "hello\n"


def test_what_is_frozen_is_not_written(rights: Any, do: Any) -> None:
    rights(lambda policy: policy.grant(ME, "reader", "writer", "runner"))
    rights(lambda policy: policy.freeze("greeting.txt"))
    done = do(options=("--steps", "2"))
    assert "edit_file greeting.txt: denied" in done.out


def test_a_fork_has_a_sessions_rights(rights: Any, do: Any, weft: Any, serve: Any, mending: Any) -> None:
    rights(lambda policy: policy.grant(ME, "reader", "writer", "runner"))
    assert do().code == 0
    assert weft("fork last --at 0").code == 0
    done = weft("resume", "last", "--model", serve(*mending).url)
    assert done.code == 0


def test_another_schema_leaves_the_rules_in_force(tmp_path: Path, do: Any) -> None:
    with Authz.open(str(tmp_path / ".weft" / "authz")) as opened:
        opened.write_schema(
            "definition user {}\ndefinition workspace { relation reader: user }", language="zed"
        )
    assert do().code == 0


def test_an_empty_store_of_permissions_leaves_the_rules_in_force(tmp_path: Path, do: Any) -> None:
    Authz.open(str(tmp_path / ".weft" / "authz")).close()
    assert do().code == 0
