"""A guide that answers from a manual: FastAPI, retrieval, prompts in Git, budgets, and traces in Phoenix.

See README.md in this folder. The model is OpenAI's, or any server that ``OPENAI_BASE_URL`` names.
"""

from __future__ import annotations

import re
from pathlib import Path

import openai
from fastapi import FastAPI, HTTPException

import llmtrace
from llmtrace import Document, prompts, retrieval, score, tag, workflow

HERE = Path(__file__).parent
llmtrace.instrument(
    service_name="guide",
    prompts=HERE / "prompts",
    budgets=HERE / "budgets.toml",
    capture_content=True,
    redact="builtin",
)
app = FastAPI(title="Guide")
client = openai.AsyncOpenAI()

MANUAL = [
    Document("keys", content="To rotate a signing key, open Settings, choose Keys and press Rotate."),
    Document("old-keys", content="An old key stays valid for 24 hours after a rotation."),
    Document("users", content="An administrator invites users under Settings, Users."),
]


@retrieval("manual", top_k=2)
def search(question: str) -> list[tuple[Document, float]]:
    """Return the documents that share the most words with the question, with their share as the score."""
    words = set(re.findall(r"\w+", question.lower()))
    scored = [(each, len(words & set(re.findall(r"\w+", str(each.content).lower()))) / len(words)) for each in MANUAL]
    return sorted(scored, key=lambda pair: -pair[1])[:2]


@app.get("/answer")
async def answer(question: str, user: str, session: str = "none") -> dict[str, object]:
    """Answer a question from the manual."""
    with tag(feature="guide", user=user, session=session), workflow("guide") as run:
        found = search(question)
        prompt = prompts.load("guide")  # the same session always gets the same version
        with prompt.use(documents=[each.content for each, _ in found], question=question) as messages:
            try:
                response = await client.chat.completions.create(
                    model=prompt.model or "gpt-4.1-mini", messages=messages, **prompt.parameters
                )
            except llmtrace.BudgetExceeded as error:
                raise HTTPException(429, "this user's budget for today is used up") from error
        text = response.choices[0].message.content
        run.result(text)
    sources = [each.id for each, _ in found]
    return {"answer": text, "response": response.id, "prompt": prompt.version, "sources": sources}


@app.post("/rating")
def rate(response: str, helpful: bool) -> None:
    """Record what the user thinks of an answer, as a score of its call."""
    score("helpful", int(helpful), on=response)
