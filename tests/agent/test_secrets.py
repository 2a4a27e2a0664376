"""What is taken out of texts, and what is left alone."""

from __future__ import annotations

import pytest

from weft.agent.secrets import MARK, redact


@pytest.mark.parametrize(
    "secret",
    [
        "AKIA" + "A" * 16,
        "ghp_" + "a1" * 18,
        "sk-" + "proj-" + "a1" * 12,
        "glpat-" + "a" * 20,
        "xoxb-" + "1" * 12,
        "eyJ" + "a" * 12 + ".eyJ" + "b" * 12 + "." + "c" * 8,
        "-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\ncut off",
    ],
)
def test_keys_are_removed(secret: str) -> None:
    assert redact(f"before {secret}") == f"before {MARK}"


def test_passwords_in_urls_are_removed() -> None:
    assert redact("postgres://ann:hunter2@db/x") == f"postgres://{MARK}@db/x"
    assert redact("Authorization: Bearer " + "a" * 30) == f"Authorization: Bearer {MARK}"


@pytest.mark.parametrize("text", ["task-list of skills", "https://host:80/a@b", "AKIA", "sk-1", "a: b@c"])
def test_ordinary_text_stays(text: str) -> None:
    assert redact(text) == text
