import pickle

import pytest

from weft.core import errors
from weft.core.errors import Invalid, MissingExtra, WeftError

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, WeftError)]


def test_every_kind_has_a_code_of_its_own_and_stands_in_the_drawn_tree() -> None:
    assert len({kind.code for kind in KINDS}) == len(KINDS)
    for kind in KINDS:
        assert kind.__name__ in (errors.__doc__ or "")


@pytest.mark.parametrize("error", [Invalid("no", hint="do", line=3), MissingExtra("x", "y")])
def test_an_error_crosses_processes_whole(error: WeftError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert (copy.message, copy.hint, copy.fields) == (error.message, error.hint, error.fields)


def test_the_text_ends_with_the_remedy() -> None:
    assert str(Invalid("`x` is no colour", hint="use red")) == "`x` is no colour; use red"
    assert str(MissingExtra("pyspark", "spark")).endswith("pip install 'weft[spark]'")
