"""What the built-in redactor finds, what it leaves alone, and that no redactor's fault lets a text through."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtrace import ConfigError
from llmtrace.telemetry.redact import REDACTED, builtin, guarded, load

FOUND = [
    ("write to jane.roe+x@mail.example.co.uk!", "write to [EMAIL]!"),
    ("?to=jane%40example.com&x=1", "[EMAIL]&x=1"),
    ("jörg@büro.example", "[EMAIL]"),
    ("card 4111 1111 1111 1111 12/26", "card [CARD] 12/26"),
    ("4111-1111-1111-1111", "[CARD]"),
    ("no 5234 4111 1111 1111 1111", "no 5234 [CARD]"),
    ("4111 1111 1111 1111 123", "[CARD] 123"),
    ("3782 822463 10005", "[CARD]"),
    ("pay to DE89 3704 0044 0532 0130 00 now", "pay to [IBAN] now"),
    ("gb82west12345698765432.", "[IBAN]."),
    ("from 10.0.0.1:80", "from [IP]:80"),
    ("at fe80::1ff:fe23:4567:890a, 2001:db8::1", "at [IP], [IP]"),
    ("2001:0db8:0000:0000:0000:8a2e:0370:7334", "[IP]"),
    ("ssn 123-45-6789", "ssn [SSN]"),
    ("+49 30 1234567", "[PHONE]"),
    ("(415) 555-2671 or 415-555-2671", "[PHONE] or [PHONE]"),
    ("tel:+14155552671", "tel:[PHONE]"),
    ("06 12 34 56 78", "[PHONE]"),
    ("key sk-ant-api03-abcdefghijklmnop_x", "key [API_KEY]"),
    ("AKIAIOSFODNN7EXAMPLE", "[API_KEY]"),
    ("ghp_" + "a1" * 18, "[API_KEY]"),
    ("Authorization: Bearer abcdefghijklmnop.q", "Authorization: [API_KEY]"),
    ("AIza" + "x" * 35, "[API_KEY]"),
    ("xoxb-1234567890-abc", "[API_KEY]"),
    ("t=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc", "t=[JWT]"),
    ("-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----.", "[PRIVATE_KEY]."),
    ("-----BEGIN PRIVATE KEY-----\nMII", "[PRIVATE_KEY]"),
]
LEFT = [
    "4111 1111 1111 1112",
    "GB82 WEST 1234 5698 7654 33",
    "release 1.2.3.4.5 and 999.1.1.1",
    "std::vector and a::b",
    "000-12-3456",
    "on 2024-01-02 10:11:12",
    "01-02-2024 10",
    "pip@1.2.3",
    "user@host",
    "order 1700000000",
    "a task-force-of-many-people-here",
    "x = y @ z",
    "",
    "12",
]


@pytest.mark.parametrize(("text", "kept"), FOUND)
def test_found(text: str, kept: str) -> None:
    """Each kind of personal data and of secret is replaced, and what is around it stays."""
    assert builtin(text) == kept


@pytest.mark.parametrize("text", LEFT)
def test_left_alone(text: str) -> None:
    """What fails its checksum, or only resembles, stays."""
    assert builtin(text) == text


@given(st.text(alphabet="a1.@ -:+()%/eyJ\n4", max_size=200))
def test_any_text_is_taken(text: str) -> None:
    """No text raises, and what was redacted once is not changed again by a second pass of the same secrets."""
    assert isinstance(builtin(text), str)


@given(st.text(max_size=40), st.text(max_size=40))
def test_an_address_is_found_anywhere(before: str, after: str) -> None:
    """An address is found whatever stands around it."""
    assert "jane.roe" not in builtin(f"{before} jane.roe@example.com {after}")


@pytest.mark.parametrize(
    "piece", ["a", "@", "a@", "@a.", "1", "1 ", "eyJ", "sk-", ":", "1.", "-----BEGIN PRIVATE KEY-----"]
)
def test_time_grows_with_the_length_only(piece: str) -> None:
    """Ten times the text takes nowhere near a hundred times as long."""

    def spent(count: int) -> float:
        text = piece * (count // len(piece))
        begun = process_time()
        builtin(text)
        return process_time() - begun

    short = max(min(spent(30_000) for _ in range(3)), 1e-4)
    assert spent(300_000) < 60 * short


def test_a_raising_redactor_closes(caplog: pytest.LogCaptureFixture) -> None:
    """A redactor that raises gives a fixed token, and the log says so once, without the text."""

    def redact(text: str) -> str:
        raise ValueError(f"cannot read {text}")

    closed = guarded(redact)
    with caplog.at_level(logging.WARNING, logger="llmtrace"):
        assert [closed("a secret"), closed("another")] == [REDACTED, REDACTED]
    assert len(caplog.records) == 1
    assert "secret" not in caplog.text
    assert "ValueError" in caplog.text


def test_a_redactor_that_gives_no_text_closes() -> None:
    """A redactor that returns something else gives the token too."""
    assert guarded(lambda text: None)("x") == REDACTED


def test_none_and_builtin_are_read_in_any_case() -> None:
    """The two words mean what they say."""
    assert load("redact", "None") is None
    assert load("redact", " BUILTIN ") is builtin


def test_a_function_is_loaded_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """module:callable finds the function, nested ones too."""
    source = "class A:\n    @staticmethod\n    def up(text):\n        return text.upper()\n"
    (tmp_path / "my_redactor.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    found = load("LLMTRACE_REDACT", "my_redactor:A.up")
    sys.modules.pop("my_redactor")
    assert found is not None
    assert found("a") == "A"


@pytest.mark.parametrize("value", ["nowhere_at_all:f", "json:missing", "json:decoder.__name__", "strict", 7])
def test_a_wrong_redactor_is_named(value: object) -> None:
    """What cannot be loaded raises an error that names setting and accepted values."""
    with pytest.raises(ConfigError, match=r"LLMTRACE_REDACT=.*module:callable"):
        load("LLMTRACE_REDACT", value)
