"""Variants of model names, as vendors and gateways write them."""

from __future__ import annotations

import re

_BEDROCK_REGION = re.compile(r"^(?:us-gov|us|eu|apac|ap|jp|au|ca|in|sa|uk|global)\.(?=[a-z0-9]+\.)")
_DATE = re.compile(
    r"[-@:](?:20\d{2}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])|20\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01]))$"
)
_COMPACT = re.compile(r"-(20\d{2})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])$")


def name_variants(name: str) -> list[str]:
    """Return the variants of a model name, from ``name`` in lower case to the simplest, without duplicates.

    A fine-tuned model never becomes its base model: their prices differ.
    """
    current = name.strip().lower()
    variants = [current]
    if current.startswith("arn:"):
        # Use the last segment: the model's name, or the opaque id of an application profile, which has no price.
        current = current.rpartition("/")[2]
        variants.append(current)
    if "models/" in current:
        current = current.rpartition("models/")[2]
        variants.append(current)
    if current.startswith("ft:"):
        variants.append(":".join(current.split(":")[:2]))
        return list(dict.fromkeys(variants))
    region = _BEDROCK_REGION.match(current)
    if region is not None:
        current = current[region.end() :]
        variants.append(current)
    compact = _COMPACT.search(current)
    if compact is not None:
        variants.append(current[: compact.start()] + "-{}-{}-{}".format(*compact.groups()))
    if "@" in current:
        variants.append(current.replace("@", "-"))
        current = current.partition("@")[0]
        variants.append(current)
    date = _DATE.search(current)
    if date is not None:
        variants.append(current[: date.start()])
    return [variant for variant in dict.fromkeys(variants) if variant]
