"""Redact what is recorded: built-in detectors, presidio or datafog. Run ``python examples/redaction.py``, offline."""

from __future__ import annotations

import os
from collections.abc import Callable

import openai

import llmtrace
from _vendor import completion, vendor


def presidio() -> Callable[[str], str]:
    """Names and places too: pip install presidio-analyzer presidio-anonymizer, and a language model of spaCy."""
    from presidio_analyzer import AnalyzerEngine
    from presidio_anonymizer import AnonymizerEngine

    analyzer, anonymizer = AnalyzerEngine(), AnonymizerEngine()
    return lambda text: anonymizer.anonymize(text, analyzer.analyze(text, language="en")).text


def datafog() -> Callable[[str], str]:
    """pip install datafog."""
    from datafog import sanitize

    return lambda text: str(sanitize(text))


if __name__ == "__main__":
    os.environ["OTEL_TRACES_EXPORTER"] = "console"
    llmtrace.instrument(capture_content=True, redact="builtin")  # or redact=presidio(), or redact=datafog()
    said = completion("I have written to jane@example.com.")
    with vendor(said) as url, openai.OpenAI(base_url=f"{url}/v1", api_key="none") as client:
        question = "Write to jane@example.com, her card is 4111 1111 1111 1111."
        print(client.chat.completions.create(model="gpt-4.1", messages=[{"role": "user", "content": question}]).id)
    llmtrace.shutdown()
