"""Built-in redactor: what it replaces and keeps, and how redactors fail redact_or_replace."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtrace import ConfigError
from llmtrace.telemetry.redact import REDACTED, builtin, fail_closed, load

REDACTED_TEXTS = [
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
KEPT_TEXTS = [
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


@pytest.mark.parametrize(("text", "redacted"), REDACTED_TEXTS)
def test_personal_data_and_secrets_are_replaced(text: str, redacted: str) -> None:
    """Each kind of personal data and of secret is replaced; the text next to it stays."""
    assert builtin(text) == redacted


@pytest.mark.parametrize("text", KEPT_TEXTS)
def test_similar_text_is_kept(text: str) -> None:
    """Text that fails its checksum, or is only similar, stays."""
    assert builtin(text) == text


@given(st.text(alphabet="a1.@ -:+()%/eyJ\n4", max_size=200))
def test_builtin_accepts_any_text(text: str) -> None:
    """No text raises."""
    assert isinstance(builtin(text), str)


@given(st.text(max_size=40), st.text(max_size=40))
def test_email_address_is_replaced_in_any_text(before: str, after: str) -> None:
    """An e-mail address is replaced between any two texts."""
    assert "jane.roe" not in builtin(f"{before} jane.roe@example.com {after}")


@pytest.mark.parametrize(
    "piece", ["a", "@", "a@", "@a.", "1", "1 ", "eyJ", "sk-", ":", "1.", "-----BEGIN PRIVATE KEY-----"]
)
def test_redaction_time_is_linear(piece: str) -> None:
    """Ten times the text takes far less than a hundred times as long."""

    def measure_seconds(count: int) -> float:
        text = piece * (count // len(piece))
        start = process_time()
        builtin(text)
        return process_time() - start

    short = max(min(measure_seconds(30_000) for _ in range(3)), 1e-4)
    assert measure_seconds(300_000) < 60 * short


def test_raising_redactor_returns_the_token_and_warns_once(caplog: pytest.LogCaptureFixture) -> None:
    """A redactor that raises yields a fixed token; the warning is logged once, without the text."""

    def redact(text: str) -> str:
        raise ValueError(f"cannot read {text}")

    redact_or_replace = fail_closed(redact)
    with caplog.at_level(logging.WARNING, logger="llmtrace"):
        assert [redact_or_replace("a secret"), redact_or_replace("another")] == [REDACTED, REDACTED]
    assert len(caplog.records) == 1
    assert "secret" not in caplog.text
    assert "ValueError" in caplog.text


def test_redactor_without_text_result_returns_the_token() -> None:
    """A redactor that returns another type yields the token too."""
    assert fail_closed(lambda text: None)("x") == REDACTED


def test_load_ignores_case_and_blanks_of_keywords() -> None:
    """The values ``none`` and ``builtin`` are accepted in any case."""
    assert load("redact", "None") is None
    assert load("redact", " BUILTIN ") is builtin


def test_load_imports_a_function_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The form module:callable imports a function, nested ones too."""
    source = "class A:\n    @staticmethod\n    def up(text):\n        return text.upper()\n"
    (tmp_path / "my_redactor.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    redact = load("LLMTRACE_REDACT", "my_redactor:A.up")
    sys.modules.pop("my_redactor")
    assert redact is not None
    assert redact("a") == "A"


@pytest.mark.parametrize("value", ["nowhere_at_all:f", "json:missing", "json:decoder.__name__", "strict", 7])
def test_load_rejects_an_invalid_redactor(value: object) -> None:
    """A value that cannot be loaded raises an error with the setting and the accepted values."""
    with pytest.raises(ConfigError, match=r"LLMTRACE_REDACT=.*module:callable"):
        load("LLMTRACE_REDACT", value)
