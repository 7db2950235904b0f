"""Metadata of the package that depends on the repository that builds it: its URLs, and the links of the README."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

LINK = re.compile(r"(!?)(\[[^\]]*\])\((?!https?://|#)([^)\s]+)\)")


class RepositoryMetadata(MetadataHookInterface):
    """Hook that reads the address of the repository from the variables of GitHub Actions.

    Elsewhere the package has no URLs, and its README keeps its relative links.
    """

    def update(self, metadata: dict[str, Any]) -> None:
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        server, repository = os.environ.get("GITHUB_SERVER_URL"), os.environ.get("GITHUB_REPOSITORY")
        if server and repository:
            address = f"{server}/{repository}"
            tag = f"v{metadata['version']}"
            text = absolute(text, address, tag)
            metadata["urls"] = {
                "Changelog": f"{address}/blob/{tag}/CHANGELOG.md",
                "Documentation": f"{address}/blob/{tag}/docs/index.md",
                "Issues": f"{address}/issues",
                "Source": address,
            }
        metadata["readme"] = {"content-type": "text/markdown", "text": text}


def absolute(text: str, address: str, tag: str) -> str:
    """Return Markdown with the relative links and images of a repository as absolute ones of a tag."""
    return LINK.sub(lambda link: f"{link[1]}{link[2]}({address}/{'raw' if link[1] else 'blob'}/{tag}/{link[3]})", text)
