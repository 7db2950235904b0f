"""Redact recorded content, offline. Run ``python examples/redaction.py [datafog|presidio]``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import openai

import llmtrace
from _vendor import completion, vendor


def presidio() -> Callable[[str], str]:
    """Redact names and places too: pip install presidio-analyzer presidio-anonymizer, and a language model of spaCy."""
    from presidio_analyzer import AnalyzerEngine
    from presidio_anonymizer import AnonymizerEngine

    analyzer, anonymizer = AnalyzerEngine(), AnonymizerEngine()
    return lambda text: anonymizer.anonymize(text, analyzer.analyze(text, language="en")).text


def datafog() -> Callable[[str], str]:
    """Redact e-mail addresses and cards: pip install datafog."""
    from datafog import sanitize

    return lambda text: str(sanitize(text))


REDACTORS: dict[str, Callable[[], Callable[[str], str] | str]] = {
    "builtin": lambda: "builtin",
    "datafog": datafog,
    "presidio": presidio,
}


def load_redactor(name: str) -> Callable[[str], str] | str:
    try:
        return REDACTORS[name]()
    except KeyError:
        raise SystemExit(f"{name!r} is not a redactor of this example: use {', '.join(REDACTORS)}") from None
    except ImportError as error:
        raise SystemExit(f"{name} is not installed ({error}); {REDACTORS[name].__doc__}") from None


if __name__ == "__main__":
    os.environ["OTEL_TRACES_EXPORTER"] = "console"
    llmtrace.instrument(capture_content=True, redact=load_redactor(*sys.argv[1:2] or ["builtin"]))
    response = completion("I have written to jane@example.com.")
    with vendor(response) as url, openai.OpenAI(base_url=f"{url}/v1", api_key="none") as client:
        question = "Write to jane@example.com, her card is 4111 1111 1111 1111."
        print(client.chat.completions.create(model="gpt-4.1", messages=[{"role": "user", "content": question}]).id)
    llmtrace.shutdown()
