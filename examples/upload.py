"""Write prompts and responses to a folder, and record references to them. Run ``python examples/upload.py``.

It needs fsspec: ``pip install -e '.[upload]'``.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import openai

import llmtrace
from _vendor import completion, vendor

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        # Or any URL that fsspec supports: s3://bucket/prompts, gs://bucket/prompts ...
        os.environ["OTEL_INSTRUMENTATION_GENAI_COMPLETION_HOOK"] = "upload"
        os.environ["OTEL_INSTRUMENTATION_GENAI_UPLOAD_BASE_PATH"] = folder
        os.environ["OTEL_TRACES_EXPORTER"] = "console"  # prints gen_ai.input.messages_ref, and no content
        llmtrace.instrument(redact="builtin")
        with (
            vendor(completion("It is done.")) as url,
            openai.OpenAI(base_url=f"{url}/v1", api_key="none") as client,
        ):
            question = "Write to jane@example.com: " + "the long story, " * 10_000
            client.chat.completions.create(model="gpt-4.1", messages=[{"role": "user", "content": question}])
        assert llmtrace.flush()
        for file in sorted(Path(folder).iterdir()):
            (message,) = json.loads(file.read_text())
            text = message["parts"][0]["content"]
            print(f"{file.name.partition('_')[2]}: {len(text)} characters, {text[:30]}...")
        llmtrace.shutdown()
