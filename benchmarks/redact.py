"""Cost of redaction: the built-in detectors, one combined regular expression, and datafog if installed.

Run ``python benchmarks/redact.py``. Microseconds of processor time per kB of English text; the best of several runs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from time import process_time

from llmtrace.telemetry.redact import builtin

SENTENCES = (
    "The quarterly report shows that revenue grew by 12 percent, mostly in the northern region. "
    "Please compare the 3 proposals below and say which one you would choose, and why. "
    "In 2024 the committee met 17 times; its minutes fill 240 pages. "
)
PERSONAL = "Write to jane.roe@example.com or call +49 30 1234567; the card is 4111 1111 1111 1111, from 10.0.0.1. "
CLEAN = SENTENCES * 80
MIXED = (SENTENCES * 4 + PERSONAL) * 20
ESCAPED = json.dumps({"out": MIXED.replace(". ", ".\n")})

TEXTS = {"clean": CLEAN, "mixed": MIXED, "mixed in JSON": ESCAPED}

# What one would write first: all kinds as alternatives, without checksums.
COMBINED = re.compile(
    r"(?P<email>[\w.+-]+@[\w-]+\.[\w.-]+)"
    r"|(?P<iban>\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}\b)"
    r"|(?P<card>\b(?:\d[ -]?){13,19}\b)"
    r"|(?P<ssn>\b\d{3}-\d{2}-\d{4}\b)"
    r"|(?P<phone>(?:\+\d{1,3}[ .-]?)?\(?\d{2,4}\)?[ .-]\d{3,4}[ .-]\d{3,4})"
    r"|(?P<ip>\b(?:\d{1,3}\.){3}\d{1,3}\b)"
    r"|(?P<key>\b(?:sk-|ghp_|AKIA|AIza|xox[bp]-)[\w-]{16,})"
    r"|(?P<jwt>\beyJ[\w-]+\.[\w-]+\.[\w-]*)"
)


def combined(text: str) -> str:
    return COMBINED.sub(lambda match: f"[{(match.lastgroup or '').upper()}]", text)


def cost(redact: Callable[[str], object], text: str, runs: int = 7) -> float:
    """Microseconds per kB."""
    best = float("inf")
    for _ in range(runs):
        begun = process_time()
        redact(text)
        best = min(best, process_time() - begun)
    return best * 1e6 / (len(text.encode()) / 1000)


def main() -> None:
    rivals: dict[str, Callable[[str], object]] = {"llmtrace builtin": builtin, "one combined expression": combined}
    try:
        from datafog import sanitize  # type: ignore[import-not-found]  # for comparison only

        rivals["datafog"] = sanitize
    except ImportError:
        print("datafog is not installed: left out")
    for name, redact in rivals.items():
        figures = (f"{kind} {cost(redact, text):8.1f}" for kind, text in TEXTS.items())
        print(f"{name:26} {'   '.join(figures)} us/kB")


if __name__ == "__main__":
    main()
