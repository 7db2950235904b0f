"""Secrets with a recognizable form, read from ``secrets.toml``, and names of secret settings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from .._tables import read_tables

_MARK = "<mark>"


@dataclass(frozen=True, slots=True)
class Secret:
    """One kind of secret; the data file describes the fields."""

    name: str
    mark: str
    pattern: re.Pattern[str]
    before: re.Pattern[str] | None
    apart: bool
    token: str
    matches: tuple[str, ...]
    keeps: tuple[str, ...]


@cache
def secrets() -> tuple[Secret, ...]:
    """Return the secrets of the data file, one for each mark."""
    return tuple(
        Secret(
            name=entry["name"],
            mark=mark,
            pattern=re.compile(entry["expression"].replace(_MARK, re.escape(mark)), re.ASCII),
            before=re.compile(f"(?:{entry['before']})\\Z", re.ASCII) if "before" in entry else None,
            apart=entry.get("apart", False),
            token=entry.get("token", "[API_KEY]"),
            matches=tuple(example.replace(_MARK, mark) for example in entry["matches"]),
            keeps=tuple(example.replace(_MARK, mark) for example in entry["keeps"]),
        )
        for entry in read_tables(__package__, "secrets.toml")["secret"]
        for mark in entry["marks"]
    )


PASSWORD_NAMES = ("password", "passwd", "pwd", "passphrase", "passwort", "userpass", "dbpass", "pgpassword")
"""Suffixes of names whose values are passwords of any form; lower case, without punctuation."""
TOKEN_NAMES = (
    *("apikey", "accesskey", "secretkey", "accountkey", "sharedaccesskey", "privatekey", "subscriptionkey"),
    *("encryptionkey", "signingkey", "masterkey", "authkey", "secret", "secretaccesskey", "clientsecret"),
    *("token", "accesstoken", "refreshtoken", "idtoken", "authtoken", "sessiontoken", "bearertoken", "credential"),
    *("sharedaccesssignature",),
)
"""Suffixes of names whose values are keys: long, and not a word."""
CREDENTIAL_NAMES = ("authorization", "proxyauthorization", "xauth")
"""Suffixes of names whose values are a scheme and a credential, such as ``Bearer abc``."""
