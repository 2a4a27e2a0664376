import json

import pytest

from weft.core.errors import MissingExtra
from weft.core.extras import require


def test_a_present_module_comes_back() -> None:
    assert require("json", "none") is json


@pytest.mark.parametrize("module", ["weft_no_such_module", "weft_no_such_module.inner"])
def test_a_missing_module_says_what_to_install(module: str) -> None:
    with pytest.raises(MissingExtra, match=r"pip install 'weft\[fancy\]'"):
        require(module, "fancy")


def test_a_module_that_fails_for_another_reason_keeps_its_error(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pathlib import Path

    folder = Path(str(tmp_path))
    (folder / "half_broken.py").write_text("import weft_something_else\n")
    monkeypatch.syspath_prepend(str(folder))
    with pytest.raises(ModuleNotFoundError, match="weft_something_else"):
        require("half_broken", "fancy")
