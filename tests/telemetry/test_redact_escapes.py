"""Built-in redactor with escaped text: secrets in every surrounding, and text that must be kept."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtrace.telemetry.decode import decode, fold, form_data
from llmtrace.telemetry.redact import builtin
from planted import HARMLESS, JSON, SECRETS, SURROUNDINGS

pytestmark = pytest.mark.exhaustive


def decode_all_levels(text: str) -> str:
    """Return ``text`` and each level of its decoded escapes."""
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
    """The secret appears neither in the redacted text nor in any level of its decoded escapes."""
    secret = SECRETS[kind]
    core = fold(secret.core)
    for surrounding, put in SURROUNDINGS.items():
        text = put(secret.text)
        assert core in decode_all_levels(text), surrounding
        redacted = builtin(text)
        assert core not in decode_all_levels(redacted), surrounding
        if surrounding in JSON:
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
def test_text_next_to_a_secret_is_kept(text: str, redacted: str) -> None:
    """Escapes and words before and after a secret stay the same."""
    assert builtin(text) == redacted


@pytest.mark.parametrize("text", HARMLESS)
def test_harmless_text_is_kept(text: str) -> None:
    """Versions, hashes, decimals, identifiers and code stay the same, escaped or not."""
    assert builtin(text) == text
    assert builtin(json.dumps(text)) == json.dumps(text)


def test_truncated_private_key_leaves_valid_json() -> None:
    """A truncated key block is replaced up to the end of its JSON string."""
    text = json.dumps({"key": "-----BEGIN PRIVATE" + " KEY-----\nMIIEvQ", "n": 1})
    assert json.loads(builtin(text)) == {"key": "[PRIVATE_KEY]", "n": 1}


@given(st.recursive(st.text(max_size=30), lambda inner: st.dictionaries(st.text(max_size=9), inner, max_size=3)))
def test_redacted_json_stays_valid(value: object) -> None:
    """Any JSON with an address in it is valid JSON after redaction."""
    text = json.dumps({"before": value, "mail\njane@example.com": value})
    assert "jane@example.com" not in json.dumps(json.loads(builtin(text)))


@given(st.text(alphabet='\\%&#;x41u0n[m\x1b3"\n\u200b\uff11', max_size=60))
def test_decoded_positions_map_to_complete_escapes(text: str) -> None:
    """Each decoded character maps to a part of the original, in order and without splitting escapes."""
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
def test_redaction_of_hostile_text_is_linear(piece: str) -> None:
    """Ten times the text takes far less than a hundred times as long: no pattern backtracks without bound."""
    from time import process_time

    def measure_seconds(size: int) -> float:
        text = piece * (size // len(piece))
        start = process_time()
        builtin(text)
        return process_time() - start

    short = max(min(measure_seconds(10_000) for _ in range(3)), 1e-3)
    assert measure_seconds(100_000) < 60 * short
