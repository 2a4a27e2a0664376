from weft.core import errors
from weft.core.errors import WeftError
from weft.server.status import STATUS, Unauthenticated, status_of


def test_every_kind_has_a_row_and_subclasses_share_it() -> None:
    kinds = {kind for kind in WeftError.__subclasses__() if kind.__module__ == errors.__name__}
    assert set(STATUS) == kinds | {Unauthenticated}
    assert status_of(Unauthenticated("x")).http == 401
    assert status_of(errors.MissingExtra("x", "y")) == STATUS[errors.Invalid]


def test_statuses_are_real() -> None:
    assert all(400 <= status.http <= 599 for status in STATUS.values())
    assert all(status.grpc.isupper() for status in STATUS.values())
