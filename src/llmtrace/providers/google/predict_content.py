"""Content of Vertex AI's ``predict``: texts to embed, prompts of images and videos, and generated images."""

from __future__ import annotations

from typing import Any

from ..._read import get, get_text
from ...model import Blob, Message, RequestContent
from ...model.content_format import ContentFormat
from .._messages import file_uri_part, iter_items, text_part

__all__ = ["PREDICT_CONTENT", "PREDICT_LONG_CONTENT"]


def read_request(body: Any) -> RequestContent:
    request = RequestContent()
    for instance in iter_items(body, "instances", request):
        if (content := get_text(instance, "content")) is not None:
            request.texts.append(content)
            continue
        parts: list[Any] = []
        if (prompt := get_text(instance, "prompt")) is not None:
            parts.append(text_part(prompt))
        for name in ("image", "lastFrame", "video"):
            parts += _media(get(instance, name), "video" if name == "video" else "image")
        for reference in iter_items(instance, "referenceImages"):
            parts += _media(get(reference, "referenceImage"), "image")
        if parts:
            request.messages.append({"role": "user", "parts": parts})
    return request


def _media(source: Any, modality: str) -> list[Any]:
    mime_type, data = get_text(source, "mimeType"), get(source, "bytesBase64Encoded")
    if isinstance(data, (str, bytes)) and data:
        return [Blob(modality, mime_type, data)]
    part = file_uri_part(get_text(source, "gcsUri"), mime_type)
    return [] if part is None else [{**part, "modality": modality}]


def read_response(response: Any) -> list[Message]:
    """Return one message per image. Images that a safety filter removed have none."""
    images = [_media(prediction, "image") for prediction in iter_items(response, "predictions")]
    return [{"role": "assistant", "parts": parts, "finish_reason": "stop"} for parts in images if parts]


PREDICT_CONTENT = ContentFormat(read_request, read_response)
PREDICT_LONG_CONTENT = ContentFormat(read_request)
