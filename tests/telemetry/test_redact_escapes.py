"""The built-in redactor against escapes: every kind of secret in every surrounding, and text that must survive."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtrace.telemetry.decode import decode, fold, form_data
from llmtrace.telemetry.redact import builtin
from llmtrace.telemetry.secret_patterns import SECRETS as TABLE
from planted import HARMLESS, JSON, SECRETS, SURROUNDINGS


def every_level(text: str) -> str:
    """Return ``text`` and what it is decoded to, level by level."""
    levels = [text]
    for _ in range(8):
        levels.append(fold(levels[-1]))
        decoded = decode(levels[-1])
        if decoded is None:
            break
        levels.append(decoded.text)
    return "\n\n".join([*levels, *(form_data(level) or "" for level in levels)])


@pytest.mark.parametrize("kind", SECRETS)
def test_secret_in_any_surrounding_is_replaced(kind: str) -> None:
    """Whatever escapes touch a secret or write it, neither the text nor what it decodes to shows it."""
    secret = SECRETS[kind]
    core = fold(secret.core)
    for around, put in SURROUNDINGS.items():
        text = put(secret.text)
        assert core in every_level(text), around
        redacted = builtin(text)
        assert core not in every_level(redacted), around
        if around in JSON:
            json.loads(redacted)


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        (r'{"a": "line\njane@example.com\tend"}', r'{"a": "line\n[EMAIL]\tend"}'),
        (r'"x\u000aDE89370400440532013000\u000ay"', r'"x\u000a[IBAN]\u000ay"'),
        ("\x1b[32m10.20.30.40\x1b[0m", "\x1b[32m[IP]\x1b[0m"),
        ("a&#10;jane@example.com&#10;b", "a&#10;[EMAIL]&#10;b"),
        ("卡号４１１１１１１１１１１１１１１１。", "卡号[CARD]。"),
        ("postgres://app:hunter2" + "@db:5432/x", "postgres://app:[PASSWORD]@db:5432/x"),
        ('{"password": "hunter2' + '", "n": 1}', '{"password": "[PASSWORD]", "n": 1}'),
        ("?user=jane&password=swordfish" + "&x=1", "?user=jane&password=[PASSWORD]&x=1"),
        ("--password hunter2" + " --verbose", "--password [PASSWORD] --verbose"),
        ("<password>hunter2" + "</password>", "<password>[PASSWORD]</password>"),
        ("db.password=swordfish" + "\n", "db.password=[PASSWORD]\n"),
        ("SERVICE_KEY=0123456789abcdef" + "0123456789abcdef", "SERVICE_KEY=[API_KEY]"),
        ("password=p=a\\b&x", "password=[PASSWORD]&x"),
        ("3400 0000 0000" + " 009", "[CARD]"),
        ("4111 - 1111 - 1111" + " - 1111", "[CARD]"),
        ("0049 30 1234567", "[PHONE]"),
        ("no 20 DE89 3704 0044 0532 0130 00", "no 20 [IBAN]"),
        ("password: str = 'hunter2" + "'", "password: str = '[PASSWORD]'"),
    ],
)
def test_text_around_a_secret_is_kept(text: str, redacted: str) -> None:
    """The escapes and the words around a secret stay as they were."""
    assert builtin(text) == redacted


@pytest.mark.parametrize("text", HARMLESS)
def test_harmless_text_survives(text: str) -> None:
    """Versions, hashes, decimals, identifiers and code are left alone, escaped or not."""
    assert builtin(text) == text
    assert builtin(json.dumps(text)) == json.dumps(text)


def test_private_key_without_an_end_leaves_json_valid() -> None:
    """A block that was cut ends with the text it stands in, not with the document."""
    text = json.dumps({"key": "-----BEGIN PRIVATE" + " KEY-----\nMIIEvQ", "n": 1})
    assert json.loads(builtin(text)) == {"key": "[PRIVATE_KEY]", "n": 1}


@given(st.recursive(st.text(max_size=30), lambda inner: st.dictionaries(st.text(max_size=9), inner, max_size=3)))
def test_json_of_any_text_stays_valid(value: object) -> None:
    """Any JSON, with an address in it, is JSON afterwards."""
    text = json.dumps({"before": value, "mail\njane@example.com": value})
    assert "jane@example.com" not in json.dumps(json.loads(builtin(text)))


@given(st.text(alphabet='\\%&#;x41u0n[m\x1b3"\n\u200b\uff11', max_size=60))
def test_decoding_any_text_keeps_its_positions(text: str) -> None:
    """What is decoded leads back to a part of the original in the same order, whole escapes only."""
    decoded = decode(text)
    if decoded is None:
        return
    pieces = [decoded.original(index, index + 1) for index in range(len(decoded.text))]
    assert all(0 <= start < end <= len(text) for start, end in pieces)
    assert pieces == sorted(pieces)
    for start, end in pieces:
        assert decoded.outside(start, end) == (start, end)


ADVERSARIAL = [
    *("\\", "\\n", "\\\\", "%", "%25", "%41", "&", "&amp;", "&#", "\x1b[", "\x1b]", "[3", "[1m", "\x1b[1m", "\u200b"),
    *("\uff10", "password=", 'password="', "password='\\", "token=", "secret:", "key ", "Basic a", "://", "://a:b@"),
    *("1A", "A1b/", "DE89", "4111 ", "4\n", "+1", "a+", "hooks.slack.com/services/", "sig=", "SG.aaaaaaaaaaaaaaaaaaaa"),
    *("eyJaaaaaaaaaaaa.", "Bearer ", "@a-", "@%40", "\\u0041", "\\ud83d", "1::", "-----BEGIN PRIVATE KEY-----\n"),
]


@pytest.mark.parametrize("piece", ADVERSARIAL)
def test_hostile_text_takes_linear_steps(piece: str) -> None:
    """Four times the text takes about four times the processor time: nothing backtracks without bound."""
    from time import process_time

    def spent(size: int) -> float:
        text = piece * (size // len(piece))
        begun = process_time()
        builtin(text)
        return process_time() - begun

    short = max(min(spent(10_000) for _ in range(3)), 1e-3)
    assert spent(100_000) < 60 * short


def test_table_compiles_and_marks_are_literal() -> None:
    """Each row of the table has a mark that its own pattern contains, and a token in brackets."""
    for secret in TABLE:
        assert secret.token.startswith("[") and secret.token.endswith("]")
        assert secret.mark.replace("\\", "") in secret.pattern.replace("\\", ""), secret.name
