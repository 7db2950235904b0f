"""A prompt and its folder."""

from __future__ import annotations

FIRST = """---
model: gpt-4.1-mini
parameters: {temperature: 0.2}
owner: support
---
# system
Be {{ tone }}.
# user
{{ question }}
"""


def body(text: str) -> str:
    """A prompt without its front matter."""
    return text.partition("\n---\n")[2]
