"""Invented secrets of every kind in context, assembled at run time so that secret scanners do not report them."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import quote, quote_plus

_RUN = "Ab3dEf6hIj9k" + "Lm2nOp5qRs8tUv1wXy4z"
_HEX = "0123456789" + "abcdef"
_UUID = "0a1b2c3d-0000-4000-8000-000000000000"


class Planted(NamedTuple):
    text: str
    """Text that holds the secret."""
    core: str
    """The part that must not be exported."""


def _alone(*parts: str) -> Planted:
    return Planted("".join(parts), "".join(parts))


SECRETS: dict[str, Planted] = {
    "openai": _alone("sk", "-proj-", _RUN),
    "anthropic": _alone("sk", "-ant-api03-", _RUN),
    "google": _alone("AI", "za", "SyD4c0ffee1234567890abcdefghijklmno"),
    "google oauth": _alone("ya", "29.", _RUN),
    "github": _alone("gh", "p_", "abcdefghijklmnopqrstuvwxyz0123456789"),
    "github fine-grained": _alone("github", "_pat_", "11ABCDEFG0abcdefghijkl_", _RUN),
    "gitlab": _alone("gl", "pat-", "Ab3dEf6hIj9kLm2nOp5q"),
    "npm": _alone("np", "m_", _RUN, "abcd"),
    "pypi": _alone("py", "pi-", "AgEIcHlwaS5vcmc", _RUN),
    "stripe": _alone("sk", "_live_", _RUN),
    "stripe webhook": _alone("wh", "sec_", _RUN),
    "sendgrid": _alone("S", "G.", _RUN[:22], ".", _RUN, _RUN[:11]),
    "twilio": _alone("S", "K", _HEX, _HEX),
    "hugging face": _alone("h", "f_", _RUN),
    "slack": _alone("xo", "xb-", "123456789012-1234567890123-", _RUN),
    "aws id": _alone("AK", "IA", "IOSFODNN7EXAMPLE"),
    "aws secret": _alone("wJalrXUtnFEMI", "/K7MDENG/", "bPxRfiCYEXAMPLEKEY"),
    "azure storage": Planted("AccountName=x;Account" + "Key=" + _RUN * 2 + "abcdefghijklmnopqrstuv==;Suffix=x", _RUN),
    "azure signature": Planted(
        "https://x.blob.core.windows.net/c?sv=2022-11-02&si" + "g=Zz9%2BdefQ12345678" + _RUN + "%3D&se=2030",
        "12345678" + _RUN,
    ),
    "jwt": _alone("eyJhbGciOiJIUzI1NiJ9", ".eyJzdWIiOiIxMjM0NTY3ODkwIn0", ".dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P"),
    "private key": Planted(
        "-----BEGIN PRIVATE" + " KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQ\nEFAASCBKcw\n-----END PRIVATE" + " KEY-----",
        "MIIEvQIBADANBgkqhkiG9w0BAQ",
    ),
    "slack webhook": Planted("https://hooks.slack" + ".com/services/T00000000/B00000000/" + _RUN, _RUN),
    "discord webhook": Planted("https://discord.com/api/web" + "hooks/123456789012345678/" + _RUN * 2, _RUN),
    "teams webhook": Planted(
        "https://example.webhook.office.com/web" + f"hookb2/{_UUID}@{_UUID}/IncomingWebhook/{_HEX}{_HEX}/{_UUID}",
        "IncomingWebhook",
    ),
    "postgres": Planted("postgres://app:hunter2" + "-horse@db.example.com:5432/x", "hunter2-horse"),
    "redis": Planted("redis://:hunter3" + "-horse@cache:6379/0", "hunter3-horse"),
    "mongodb": Planted("mongodb+srv://u:hunter4" + "-horse@c0.example.net/?x=1", "hunter4-horse"),
    "amqp": Planted("amqps://u:hunter5" + "-horse@mq.example:5671/v", "hunter5-horse"),
    "basic": Planted("Authorization: Ba" + "sic YWxhZGRpbjpvcGVuc2VzYW1l", "YWxhZGRpbjpvcGVuc2VzYW1l"),
    "bearer": Planted("Authorization: Bear" + "er " + _RUN, _RUN),
    "password": Planted("pass" + "word=hunter6-horse", "hunter6-horse"),
    "json password": Planted('{"user": "jane", "pass' + 'word": "hunter7-horse"}', "hunter7-horse"),
    "api key": Planted("api_" + "key: " + _RUN, _RUN),
    "card": _alone("4111 1111", " 1111 1111"),
    "card with dots": _alone("4111.1111", ".1111.1111"),
    "card with no-break spaces": _alone("4111\xa01111", "\xa01111\xa01111"),
    "card with dashes": _alone("4111\u20131111", "\u20131111\u20131111"),
    "card across lines": _alone("4111 1111", "\n1111 1111"),
    "iban": _alone("DE89 3704", " 0044 0532 0130 00"),
    "email": _alone("jane.roe", "@example.com"),
    "phone": _alone("+49 30", " 1234567"),
    "ip": _alone("10.20", ".30.40"),
    "ipv6": _alone("2001:db8", "::8a2e:370:7334"),
    "ssn": _alone("123-45", "-6789"),
}


def _wide(text: str) -> str:
    return "".join(chr(ord(sign) + 0xFEE0) if "!" <= sign <= "~" else sign for sign in text)


SURROUNDINGS: dict[str, Callable[[str], str]] = {
    "words": lambda text: f"key {text} end",
    "sentence": lambda text: f"It is {text}.",
    "json line": lambda text: json.dumps({"out": f"line\n{text}\nnext"}),
    "json tab": lambda text: json.dumps(f"k\t{text}\tx"),
    "json twice": lambda text: json.dumps(json.dumps({"o": f"l\n{text}"})),
    "json three times": lambda text: json.dumps(json.dumps(json.dumps({"o": f"l\n{text}"}))),
    "json key": lambda text: json.dumps({text: 1}),
    "json colour": lambda text: json.dumps(f"a\x1b[32m{text}\x1b[0m"),
    "repr": lambda text: repr(f"line\n{text}\n"),
    "bytes": lambda text: repr(f"line\n{text}".encode()),
    "percent": lambda text: "next=%2F%3Fkey%3D" + quote(text, safe=""),
    "percent in front": lambda text: "next=%2F%3Fkey%3D" + text,
    "percent blank": lambda text: "value%20" + text,
    "percent twice": lambda text: "x=%2520" + quote(quote(text, safe=""), safe=""),
    "form data": lambda text: "a=1&q=" + quote_plus("x " + text),
    "colour": lambda text: f"\x1b[32m{text}\x1b[0m",
    "colour after a word": lambda text: f"key\x1b[1;32m{text}\x1b[0mend",
    "colour within": lambda text: f"a {text[:3]}\x1b[31m{text[3:]}\x1b[0m",
    "caret colour": lambda text: f"key^[[32m{text}^[[0m",
    "html": lambda text: f"&lt;b&gt;{html.escape(text)}&lt;/b&gt;",
    "html decimal": lambda text: "".join(f"&#{ord(sign)};" for sign in text),
    "html hexadecimal": lambda text: "".join(f"&#x{ord(sign):x};" for sign in text),
    "unicode escapes": lambda text: "".join(f"\\u{ord(sign):04x}" for sign in text),
    "hexadecimal escapes": lambda text: f"n\\x0a{text}\\x0a",
    "full width": _wide,
    "chinese": lambda text: f"我的密钥是{text}。谢谢",
    "zero width": "\u200b".join,
    "no-break spaces": lambda text: f"key\xa0{text}\xa0x",
    "windows lines": lambda text: f"x\r\n{text}\r\n",
    "markdown": lambda text: f"`{text}`",
    "angle": lambda text: f"<{text}>",
    "shell": lambda text: f"export X={text}",
    "csv": lambda text: f"'a';'{text}'",
}
JSON = {"json line", "json tab", "json twice", "json three times", "json key", "json colour"}

HARMLESS = r"""
release 1.2.3, 10.4.0-rc.1, v1.2.3.4 and foo==1.2.3.4
550e8400-e29b-41d4-a716-446655440000
sha1 da39a3ee5e6b4b0d3255bfef95601890afd80709
sha256 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==
2024-01-02T10:11:12.123456Z and 1700000000 and 1700000000000 and 1700000000123456789
0.4111111111111111 -0.5500000000000004 3.141592653589793 6.0221408e+23
[0.4539578, -0.0128374, 0.5105105105105100, 1.4242424242424242]
max_tokens: 4096, "total_tokens": 120, completion_tokens=20
token: the smallest unit of text
password: must be at least 8 characters
connect(host=host, password=password)
connect(user, password=settings.password, token=self.token)
api_key = os.environ["OPENAI_API_KEY"]
api_key=os.getenv("API_KEY")
api_key: str | None = None
def login(password: str, token: str = "") -> None:
password = get_password(user)
{"type": "object", "properties": {"password": {"type": "string"}, "api_key": {"type": "string"}}}
"secret": null, "token": true, "password": ""
FIRST_TOKEN = "stream.time_to_first_token"
postgres://user:${DB_PASSWORD}@db/app and https://user:<password>@host
password=${PASSWORD} token: {{ token }} api_key=$API_KEY
password: ****** token: xxxxxxxxxxxx
PWD=/home/me/project
http://localhost:8080/users/@me and http://[::1]:8080/a@b
git clone https://github.com/org/repo.git && cd repo
import std::vector; a::b; Foo::Bar::new(); gaps[::2], digits[1::2]
@app.route("/x") @decorator.method y = x@W.transpose() + b
lodash@4.17.21 pip@1.2.3 user@host actions/checkout@v4
a task-force-of-many-people-here and risk-averse-people-are-here-too
Basic understanding of the basic principles, basic authentication_scheme
AbstractSingletonProxyFactoryBeanHttp2V1 and src/components/Dashboard2/WidgetContainer/index
100% sure &c. AT&T R&D a && b &amp; ipsum &lt;b&gt; \u00e9t\u00e9
C:\new\table\users\x and \d+\s*\w and \n
color: #ff0000; background: rgba(255, 255, 255, 0.5)
2019 2020 2021 2022 2023 2024 and 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16
10:30:45.123 [main] INFO 12 - started; ISBN 978-3-16-148410-0
call_abcdefghijklmnopqrstuvwx chatcmpl-9abcDEFghiJKLmnoPQRstu msg_01XFDUDYJgAACzvnptvVoYEL
gpt-4o-mini-2024-07-18 claude-3-5-sonnet-20241022 text-embedding-3-small
data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk
00:1a:2b:3c:4d:5e $1,234,567.89 chr1:12345678-12345999
<token>hello</token> <key>value</key> author: Jane Roe, keywords: a, b
authorization: the process of granting rights; monkey: banana, turkey=stuffed
{"token": " international", "logprob": -0.0003} token_type: bearer
{"kind": "Secret", "metadata": {"name": "my-secret"}} AKIA is the prefix of AWS, eyJ that of a JWT
-----BEGIN CERTIFICATE----- the SKU SK12345 and SG.1
Python 3.11.7 (main, Dec  4 2023, 18:10:11) [Clang 15.0.7 ]
127 passed, 3 failed in 12.34s tests/test_a.py::test_b[1-2] PASSED [ 50%]
""".strip().splitlines()
