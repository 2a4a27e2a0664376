"""The build hook: a program where there is a compiler, one line and no failure where there is none."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from types import ModuleType

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[4]
_SAID = "sandboxes will start slower"


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    folder = tmp_path / "sources"
    folder.mkdir()
    (folder / "main.c").write_text("int main(void) { return 2; }\n")
    return folder


def test_what_is_built_stands_beside_its_sources_and_runs(hook: ModuleType, program: str) -> None:
    assert os.access(program, os.X_OK)
    assert Path(program).name == hook.PROGRAM


@pytest.mark.parametrize("compiler", ["/nowhere/cc", "false", "true", "sh -c 'exit 1'"])
def test_a_compiler_that_is_not_there_or_fails(
    hook: ModuleType,
    sources: Path,
    compiler: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (sources / hook.PROGRAM).write_text("of former sources")
    monkeypatch.setenv("CC", compiler)
    assert hook.compile_inside(sources) is None
    said = capfd.readouterr().err
    assert _SAID in said
    assert said.count("\n") == 1
    assert [path.name for path in sources.iterdir()] == ["main.c"]


def test_no_compiler_at_all(
    hook: ModuleType, sources: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(sources))
    assert hook.compile_inside(sources) is None
    assert f"{_SAID}: there is no C compiler" in capfd.readouterr().err


def test_sources_that_are_broken_or_whose_program_does_not_run(
    hook: ModuleType, sources: Path, program: str, capfd: pytest.CaptureFixture[str]
) -> None:
    for text in ("int main(void) { return", "int main(void) { return 0; }"):
        (sources / "main.c").write_text(text)
        assert hook.compile_inside(sources) is None
        assert _SAID in capfd.readouterr().err


@pytest.mark.parametrize(("compiler", "tag"), [("", "linux"), ("false", "py3-none-any")])
def test_a_wheel_is_of_its_platform_where_it_has_the_program(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiler: str, tag: str
) -> None:
    package = _copy_of_the_package(tmp_path)
    if compiler:
        monkeypatch.setenv("CC", compiler)
    (path,) = WheelBuilder(str(package)).build(directory=str(tmp_path / "dist"), versions=["standard"])
    assert tag in path
    with zipfile.ZipFile(path) as wheel:
        modes = {each.filename: each.external_attr >> 16 for each in wheel.infolist()}
    assert (modes.get("weft/agent/sandbox/native/weft-inside", 0) & 0o111 != 0) == (not compiler)


def test_a_source_distribution_has_the_sources_and_the_hook(hook: ModuleType, tmp_path: Path) -> None:
    included = {each.distribution_path for each in SdistBuilder(str(ROOT)).recurse_included_files()}
    assert f"{hook.FOLDER}/main.c" in included
    assert "hatch_build.py" in included
    assert f"{hook.FOLDER}/{hook.PROGRAM}" not in included


def _copy_of_the_package(tmp_path: Path) -> Path:
    """The files that the hook needs, so that the one in use here stays as it is."""
    package = tmp_path / "package"
    for path in ("pyproject.toml", "hatch_build.py", "README.md", "src/weft/__init__.py"):
        (package / path).parent.mkdir(parents=True, exist_ok=True)
        (package / path).symlink_to(ROOT / path)
    native = package / "src/weft/agent/sandbox/native"
    native.mkdir(parents=True)
    for source in (ROOT / "src/weft/agent/sandbox/native").glob("*.[ch]"):
        (native / source.name).symlink_to(source)
    return package
