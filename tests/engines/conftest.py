"""Real engines: where one is not installed its tests skip with the reason, and fail under `make engines`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# What an image needs, out of this host's own files where no registry can be reached: a shell and a Python.
_PACKAGES = [
    *("base-files", "base-passwd", "coreutils", "dash", "debianutils", "grep", "sed", "findutils", "procps"),
    *("util-linux", "libc6", "libc-bin", "libgcc-s1", "python3-minimal"),
]
_LEFT_OUT = ("/usr/share/doc", "/usr/share/man", "/usr/share/locale", "/usr/share/info")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "engine(program): needs this program of the host")


@pytest.fixture(autouse=True)
def _engine(request: pytest.FixtureRequest) -> None:
    for mark in request.node.iter_markers("engine"):
        require(*mark.args)


def require(program: str) -> None:
    """Skip where the program is not installed, with the reason, or fail where it was to be."""
    if shutil.which(program) is None:
        reason = f"`{program}` is not installed: tests/engines/install.sh installs it"
        if os.environ.get("WEFT_ENGINES"):
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of an image of this host's own files, in Podman's store."""
    require("podman")
    name, tar = f"localhost/weft-engine-{os.getpid()}:1", tmp_path_factory.mktemp("image") / "root.tar"
    build(tar)
    subprocess.run(["podman", "import", "--quiet", str(tar), name], check=True, capture_output=True)
    tar.unlink()
    yield name
    subprocess.run(["podman", "rmi", "--force", name], check=True, capture_output=True)


def build(tar: Path) -> None:
    """Write a root file system to the tar."""
    with tarfile.open(tar, "w") as archive:
        for path in sorted({*_owned(), "/bin", "/sbin", "/lib", "/lib64", "/usr/bin/sh", "/etc/passwd"}):
            archive.add(path, path.lstrip("/"), recursive=False)
        for name in ("proc", "sys", "dev", "tmp", "run", "workspace"):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            archive.addfile(folder)


def _owned() -> Iterator[str]:
    """Each package's files, and the libraries that its programs load."""
    version = os.path.basename(os.path.realpath("/usr/bin/python3"))
    listed = [
        path
        for package in [*_PACKAGES, f"{version}-minimal", f"lib{version}-minimal", f"lib{version}-stdlib"]
        for path in subprocess.run(
            ["dpkg", "-L", package], capture_output=True, text=True
        ).stdout.splitlines()
        if os.path.isfile(path) and not path.startswith(_LEFT_OUT)
    ]
    programs = [path for path in listed if "/bin/" in path or path.endswith(".so") or ".so." in path]
    loaded = subprocess.run(["ldd", *programs], capture_output=True, text=True).stdout
    for path in {*listed, *re.findall(r"(/\S+\.so\S*) \(", loaded)}:
        yield from _with_links(path)


def _with_links(path: str) -> Iterator[str]:
    """The file as it is named and as it is stored, where /bin, /lib and the like are links themselves."""
    merged = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    yield merged
    if os.path.islink(merged):
        yield from _with_links(os.path.join(os.path.dirname(merged), os.readlink(merged)))
