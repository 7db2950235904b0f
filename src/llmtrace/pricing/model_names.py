"""What a model may also be called: the ways in which vendors and gateways write one name."""

from __future__ import annotations

import re

__all__ = ["name_variants"]

_BEDROCK_AREA = re.compile(r"^(?:us-gov|us|eu|apac|ap|jp|au|ca|in|sa|uk|global)\.(?=[a-z0-9]+\.)")
_DATE = re.compile(
    r"[-@:](?:20\d{2}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])|20\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01]))$"
)
_COMPACT = re.compile(r"-(20\d{2})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])$")


def name_variants(name: str) -> list[str]:
    """``name`` as it is written, then ever plainer ways to write it, without repeats.

    A fine-tuned model never becomes its base model, whose price is another one.
    """
    plain = name.strip().lower()
    forms = [plain]
    if plain.startswith("arn:"):
        # An application profile's ARN ends in an opaque id, which no catalogue knows.
        plain = plain.rpartition("/")[2]
        forms.append(plain)
    if "models/" in plain:
        plain = plain.rpartition("models/")[2]
        forms.append(plain)
    if plain.startswith("ft:"):
        forms.append(":".join(plain.split(":")[:2]))
        return list(dict.fromkeys(forms))
    area = _BEDROCK_AREA.match(plain)
    if area is not None:
        plain = plain[area.end() :]
        forms.append(plain)
    compact = _COMPACT.search(plain)
    if compact is not None:
        forms.append(plain[: compact.start()] + "-{}-{}-{}".format(*compact.groups()))
    if "@" in plain:
        forms.append(plain.replace("@", "-"))
        plain = plain.partition("@")[0]
        forms.append(plain)
    date = _DATE.search(plain)
    if date is not None:
        forms.append(plain[: date.start()])
    return [form for form in dict.fromkeys(forms) if form]
