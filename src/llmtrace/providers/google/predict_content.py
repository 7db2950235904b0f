"""Vertex AI's ``predict``: the texts embedded, the prompts of images and videos, and the images made."""

from __future__ import annotations

from typing import Any

from ..._read import get, get_text
from ...model import Blob, Message, RequestContent
from ...model.content_format import ContentFormat
from .._messages import file_uri_part, iter_items, text_part

__all__ = ["PREDICT_CONTENT", "PREDICT_LONG_CONTENT"]


def read_request(body: Any) -> RequestContent:
    asked = RequestContent()
    for instance in iter_items(body, "instances", asked):
        if (content := get_text(instance, "content")) is not None:
            asked.texts.append(content)
            continue
        parts: list[Any] = []
        if (prompt := get_text(instance, "prompt")) is not None:
            parts.append(text_part(prompt))
        for name in ("image", "lastFrame", "video"):
            parts += _media(get(instance, name), "video" if name == "video" else "image")
        for reference in iter_items(instance, "referenceImages"):
            parts += _media(get(reference, "referenceImage"), "image")
        if parts:
            asked.messages.append({"role": "user", "parts": parts})
    return asked


def _media(source: Any, modality: str) -> list[Any]:
    mime_type, data = get_text(source, "mimeType"), get(source, "bytesBase64Encoded")
    if isinstance(data, (str, bytes)) and data:
        return [Blob(modality, mime_type, data)]
    part = file_uri_part(get_text(source, "gcsUri"), mime_type)
    return [] if part is None else [{**part, "modality": modality}]


def read_response(answer: Any) -> list[Message]:
    """One message per image; what a safety filter took away is none."""
    said = [_media(prediction, "image") for prediction in iter_items(answer, "predictions")]
    return [{"role": "assistant", "parts": parts, "finish_reason": "stop"} for parts in said if parts]


PREDICT_CONTENT = ContentFormat(read_request, read_response)
PREDICT_LONG_CONTENT = ContentFormat(read_request)
