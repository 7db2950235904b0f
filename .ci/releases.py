"""Print the oldest or the newest supported releases of client libraries, one requirement of pip on each line.

``python .ci/releases.py oldest`` or ``newest``, with the names of providers to print no others. Releases come from the
registry, whose ranges the extras in ``pyproject.toml`` repeat. It needs ``llmtrace`` to be installed.
"""

from __future__ import annotations

import sys

from llmtrace.providers.contract import Provider
from llmtrace.providers.registry import PROVIDERS

OWN_SESSION = ("litellm",)
"""Its oldest release requires newer SDKs than the oldest."""
LARGE = ("claude_agent",)
"""Its newest release brings 400 MB of Claude Code."""
COMPANIONS = {"oldest": ("boto3==1.35.16", "aiobotocore==2.15.0", "httpx<0.28"), "newest": ()}
"""What else the tests use. The oldest release of openai passes an argument that httpx 0.28 removed."""


def requirement(provider: Provider, which: str) -> str:
    """Return the oldest release that a provider supports, or all of them: pip installs the newest."""
    floor, _, _ = provider.supported.partition(",")
    if not floor.startswith(">="):
        raise ValueError(
            f"{provider.name}: {provider.supported!r} does not begin with the oldest release, as in >=1.2,<2"
        )
    return provider.distribution + (floor.replace(">=", "==") if which == "oldest" else provider.supported)


def requirements(which: str, names: list[str]) -> list[str]:
    """Return the releases of the named providers, or of all that are tested together, with their companions."""
    if names:
        return [requirement(provider, which) for provider in PROVIDERS if provider.name in names]
    left_out = {"oldest": OWN_SESSION, "newest": (*OWN_SESSION, *LARGE)}[which]
    tested = [provider for provider in PROVIDERS if provider.name not in left_out]
    return [*(requirement(provider, which) for provider in tested), *COMPANIONS[which]]


if __name__ == "__main__":
    print("\n".join(requirements(sys.argv[1], sys.argv[2:])))
