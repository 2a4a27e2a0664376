"""Where a model is served: address, name and key."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from weft.agent.secrets import MARK, redact

# A provider's explanation is a sentence or two; what is longer is a web page.
_MAX_SAID_CHARS: Final = 500


class Endpoint:
    """One model at one address. Its key is in no text that it gives."""

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        name: str,
        key: str | None = None,
        key_variable: str,
        official: bool = False,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.model = model
        self.name = name
        self.key = key
        self.key_variable = key_variable
        self.official = official
        """Whether the format's own maker serves it; others differ in what they take."""

    def __repr__(self) -> str:
        return f"Endpoint({self.name!r})"

    @property
    def host(self) -> str:
        return urlsplit(self.base_url).netloc

    @property
    def is_this_machine(self) -> bool:
        return urlsplit(self.base_url).hostname in ("localhost", "127.0.0.1", "::1")

    def shown(self, text: str) -> str:
        """A provider's words on one line, without the key or anything that looks like one."""
        text = " ".join(text.split())
        return redact(text.replace(self.key, MARK) if self.key else text)[:_MAX_SAID_CHARS]
