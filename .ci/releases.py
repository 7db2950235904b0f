"""Print the oldest or the newest supported releases of client libraries, one requirement of pip on each line.

``python .ci/releases.py oldest`` or ``newest``, with the names of providers or bridges to print no others. Releases
come from the registries, whose ranges the extras in ``pyproject.toml`` repeat. It needs ``llmtrace`` to be installed.
"""

from __future__ import annotations

import sys

from llmtrace.integrations.contract import Integration
from llmtrace.integrations.registry import INTEGRATIONS
from llmtrace.providers.contract import Provider
from llmtrace.providers.registry import PROVIDERS

OWN_SESSION = ("litellm",)
"""Its oldest release requires newer SDKs than the oldest."""
LARGE = ("claude_agent",)
"""Its newest release brings 400 MB of Claude Code."""
COMPANIONS = {"oldest": ("boto3==1.35.16", "aiobotocore==2.15.0", "httpx<0.28"), "newest": ()}
"""What else the tests use. The oldest release of openai passes an argument that httpx 0.28 removed."""


def requirement(row: Provider | Integration, which: str) -> str:
    """Return the oldest release that a provider or a bridge supports, or all of them: pip installs the newest."""
    floor, _, _ = row.supported.partition(",")
    if not floor.startswith(">="):
        raise ValueError(f"{row.name}: {row.supported!r} does not begin with the oldest release, as in >=1.2,<2")
    return row.distribution + (floor.replace(">=", "==") if which == "oldest" else row.supported)


def requirements(which: str, names: list[str]) -> list[str]:
    """Return the releases of the named rows, or of all providers that are tested together, with their companions."""
    if names:
        return [requirement(row, which) for row in (*PROVIDERS, *INTEGRATIONS) if row.name in names]
    left_out = {"oldest": OWN_SESSION, "newest": (*OWN_SESSION, *LARGE)}[which]
    tested = [provider for provider in PROVIDERS if provider.name not in left_out]
    return [*(requirement(provider, which) for provider in tested), *COMPANIONS[which]]


if __name__ == "__main__":
    print("\n".join(requirements(sys.argv[1], sys.argv[2:])))
