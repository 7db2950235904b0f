"""Accuracy of token estimates compared with reported usage, over recorded exchanges.

Run it with ``python benchmarks/estimates.py RECORDINGS [docs/how-to/missing-token-counts.md]``. With the page given,
its table is replaced.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from llmtrace.pricing import tokens
from llmtrace.pricing.estimates import count_input, count_output
from llmtrace.providers.anthropic.messages import MESSAGES
from llmtrace.providers.openai.chat import CHAT, COMPLETIONS
from llmtrace.providers.openai.responses import RESPONSES

START, END = "<!-- table -->", "<!-- end of table -->"
FORMATS = {"chat.completions": CHAT, "messages": MESSAGES, "responses": RESPONSES, "completions": COMPLETIONS}
HIDDEN = {"reasoning", "reasoning_summary", "encrypted_reasoning", "redacted_thinking"}
UNCOUNTED = {
    "image_input", "audio_input", "video_input", "document_input", "file_uri", "previous_response", "web_search",
    "code_execution", "file_search", "mcp", "web_fetch", "url_context", "conversation", "image_generation",
}  # fmt: skip
"""Usage that is not in any text. Exchanges with it are skipped: their estimates are too low."""


def reported(cassette: dict[str, Any]) -> dict[str, Any] | None:
    usage = cassette["expected"].get("normalised")
    body = cassette["request"].get("body")
    if cassette["surface"] not in FORMATS or not usage or not isinstance(body, dict):
        return None
    features = set(cassette["features"])
    return None if features & UNCOUNTED or any(name.startswith("in_") for name in features) else usage


def text_of(cassette: dict[str, Any]) -> str:
    said = []
    for choice in cassette["expected"].get("outputs") or ():
        said += [choice.get("text") or "", choice.get("reasoning") or "", choice.get("refusal") or ""]
        for call in choice.get("tool_calls") or ():
            arguments = call.get("arguments")
            said += [call.get("name") or "", arguments if isinstance(arguments, str) else json.dumps(arguments)]
    return "".join(said)


def measure(folder: Path) -> dict[tuple[str, str, str], list[tuple[int, int]]]:
    pairs: dict[tuple[str, str, str], list[tuple[int, int]]] = defaultdict(list)
    for path in sorted(folder.glob("*.json")):
        if path.name == "index.json":
            continue
        cassette = json.loads(path.read_text(encoding="utf-8"))
        usage = reported(cassette)
        if usage is None:
            continue
        body, expected = cassette["request"]["body"], cassette["expected"]
        encoding = tokens.encoding_of(expected["model"] or expected["request_model"])
        claude = "claude" in (expected["model"] or expected["request_model"] or "")
        calls = sum(len(choice.get("tool_calls") or ()) for choice in expected.get("outputs") or ())
        tools = "with" if body.get("tools") or body.get("functions") else "without"
        if usage.get("input_tokens"):
            wire_format = FORMATS[cassette["surface"]]
            assert wire_format.content is not None
            operation = wire_format.request(body).operation
            guess = count_input(wire_format.content.request(body), encoding, operation, claude=claude)
            pairs[cassette["provider"], "input", tools].append((guess, usage["input_tokens"]))
        text, output = text_of(cassette), usage.get("output_tokens")
        thought = usage.get("reasoning_output_tokens") or HIDDEN & set(cassette["features"])
        if output and text and not thought:
            pairs[cassette["provider"], "output", tools].append(
                (count_output(text, encoding, calls, claude=claude), output)
            )
    return pairs


def table(pairs: dict[tuple[str, str, str], list[tuple[int, int]]]) -> str:
    lines = [
        "| vendor | count | tools | exchanges | exact | within 1 | estimate / reported, all | lowest | highest |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for (vendor, which, tools), found in sorted(pairs.items()):
        exact = sum(guess == true for guess, true in found)
        close = sum(abs(guess - true) <= 1 for guess, true in found)
        ratios = [guess / true for guess, true in found]
        total = sum(guess for guess, _ in found) / sum(true for _, true in found)
        lines.append(
            f"| {vendor} | {which} | {tools} | {len(found)} | {exact} | {close} | {total:.2f} | "
            f"{min(ratios):.2f} | {max(ratios):.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    made = table(measure(Path(sys.argv[1])))
    if len(sys.argv) < 3:
        print(made)
        return
    page = Path(sys.argv[2])
    before, _, rest = page.read_text(encoding="utf-8").partition(START)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{START}\n{made}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
