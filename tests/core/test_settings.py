from pathlib import Path

import pytest

from weft.core.errors import Invalid
from weft.core.settings import Settings, load


def write(folder: Path, text: str) -> Path:
    path = folder / "weft.toml"
    path.write_text(text)
    return path


def test_flags_overrule_variables_and_variables_overrule_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, 'data = "from-file"\n[server]\nhost = "::1"\nport = 1\n')
    found = load(file, {"WEFT_SERVER__PORT": "2", "WEFT_DATA": "from-env"}, {"data": "from-flag", "log": {}})
    assert (found.data, found.server.port, found.server.host) == (Path("from-flag"), 2, "::1")


def test_without_any_source_the_defaults_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(environ={"HOME": "/x"}) == Settings()


@pytest.mark.parametrize(
    ("text", "environ", "says"),
    [
        ("[server]\nport = 99999\n", {}, r"weft.toml: `server.port`: .*65535"),
        (
            "colour = 1\n",
            {},
            r"weft.toml: `colour` is no setting; the settings are data, log.level, .*server.keys$",
        ),
        ("", {"WEFT_LOG__LEVEL": "loud"}, r"environment: `log.level`"),
        ("[server\n", {}, r"is not TOML: .*line 1"),
        ('log = "x"\n', {"WEFT_LOG__LEVEL": "info"}, r"`log` is given both as a value and as a section"),
    ],
)
def test_a_fault_names_its_source_and_setting(
    tmp_path: Path, text: str, environ: dict[str, str], says: str
) -> None:
    with pytest.raises(Invalid, match=says):
        load(write(tmp_path, text), environ)


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="cannot read settings"):
        load(tmp_path / "absent.toml", {})


def test_secrets_never_print() -> None:
    found = load(environ={"WEFT_SERVER__KEYS": "hunter2,swordfish", "WEFT_AGENT__API_KEY": "hunter2"})
    assert [key.get_secret_value() for key in found.server.keys] == ["hunter2", "swordfish"]
    assert "hunter2" not in repr(found) + str(found) + found.model_dump_json()


def test_a_refused_secret_is_not_quoted(tmp_path: Path) -> None:
    with pytest.raises(Invalid) as caught:
        load(write(tmp_path, '[server]\nkeys = {a = "hunter2"}\n'), {})
    assert "hunter2" not in str(caught.value)


def test_a_model_has_a_short_variable_of_its_own() -> None:
    assert load(environ={"WEFT_MODEL_URL": "openai:gpt-5"}).agent.model == "openai:gpt-5"


def test_prices_are_by_patterns_that_hold_any_character(tmp_path: Path) -> None:
    found = load(write(tmp_path, '[agent.prices]\n"chat:http://gpu:8000/v1#qwen3.5*" = [0.2, 0.6]\n'), {})
    assert found.agent.prices == {"chat:http://gpu:8000/v1#qwen3.5*": (0.2, 0.6)}
