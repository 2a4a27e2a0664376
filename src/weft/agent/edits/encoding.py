"""The bytes of a file as text and back: bytes that an edit does not touch come back as they were."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from weft.agent.edits.model import EditError

_UTF_16: Final = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
_DECLARED: Final = re.compile(rb"\A(?:[^\n]*\n)?[^\n]*coding[:=][ \t]*([-\w.]+)")
_ODD: Final = re.compile("[\udc80-\udcff]")


class Decoded(NamedTuple):
    """A text, its BOM included, and the encoding in which it is written."""

    text: str
    encoding: str

    def encode(self, text: str) -> bytes:
        """Another text in the same encoding; `EditError` naming the character that it does not have."""
        try:
            return text.encode(self.encoding, "surrogateescape")
        except UnicodeEncodeError as error:
            raise EditError(
                f"`{text[error.start]}` cannot be written in {self.encoding}, the encoding of the file",
                hint="write it otherwise, or convert the file first",
            ) from error


def decode(data: bytes) -> Decoded:
    """UTF-16 by its BOM, UTF-8 where it fits; else the declared encoding, or latin-1 where nothing reads
    as UTF-8. A file of several encodings is taken for UTF-8, and its other bytes are kept."""
    if encoding := _UTF_16.get(data[:2]):
        text = data.decode(encoding, "surrogatepass")
        if not len(data) % 2 and text.encode(encoding, "surrogatepass") == data and _is_plain(text):
            return Decoded(text, encoding)
    text = data.decode("utf-8", "surrogateescape")
    if _ODD.search(text) and _ODD.sub("", text).isascii():
        declared = _DECLARED.match(data)
        for encoding in (declared[1].decode("ascii", "replace") if declared else "latin-1", "latin-1"):
            try:
                other = data.decode(encoding)
                if other.encode(encoding) == data:
                    return Decoded(other, encoding)
            except (UnicodeError, LookupError):
                continue
    return Decoded(text, "utf-8")


def _is_plain(text: str) -> bool:
    return not re.search("[\x00\ud800-\udfff]", text)
