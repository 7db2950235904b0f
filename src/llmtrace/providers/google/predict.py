"""Vertex AI's ``predict``: embeddings of older models, images (Imagen), and videos (Veo), which run for longer."""

from __future__ import annotations

from typing import Any

from ..._read import get, get_count, get_text, iter_list, put
from ...model import Message, Request, RequestContent, Response
from ...model.content_format import ContentFormat
from ...model.wire_format import WireFormat
from .._messages import data_part, iter_items, text_parts

__all__ = ["PREDICT", "PREDICT_LONG"]


def read_request(body: Any) -> Request:
    if get(next(iter_list(body, "instances"), None), "content") is None:
        return _media_request(body, "image")
    request = Request(operation="embeddings")
    put(request.params, {"dimensions": get_count(get(body, "parameters"), "outputDimensionality")})
    return request


def _media_request(body: Any, output_type: str) -> Request:
    request = Request(operation="generate_content", output_type=output_type)
    parameters = get(body, "parameters")
    choices = get_count(parameters, "sampleCount")
    put(request.params, {"choice.count": None if choices == 1 else choices, "seed": get_count(parameters, "seed")})
    return request


def read_response(response: Any) -> Response:
    tokens = dimensions = None
    images = 0
    for prediction in iter_list(response, "predictions"):
        embedding = get(prediction, "embeddings")
        if embedding is None:
            # Skip an image that a safety filter removed: it has no bytes and is not billed.
            images += get(prediction, "bytesBase64Encoded") is not None or get(prediction, "gcsUri") is not None
            continue
        vector = get(embedding, "values")
        if dimensions is None and isinstance(vector, list):
            dimensions = len(vector)
        count = get(get(embedding, "statistics"), "token_count")
        # This API writes counts as floating-point numbers.
        if isinstance(count, (int, float)) and not isinstance(count, bool) and 0 <= count <= 2**48 and count % 1 == 0:
            tokens = (tokens or 0) + int(count)
    if tokens is not None:
        return Response(usage={"input": tokens}, dimensions=dimensions)
    return Response(usage={"images": images} if images else None, dimensions=dimensions)


def read_long_running_request(body: Any) -> Request:
    return _media_request(body, "video")


def read_operation(response: Any) -> Response:
    # The response only names the long-running operation that creates the video.
    return Response()


def read_content(body: Any) -> RequestContent:
    request = RequestContent()
    for instance in iter_items(body, "instances", request):
        if (content := get_text(instance, "content")) is not None:
            request.texts.append(content)
            continue
        parts: list[Any] = text_parts(instance, "prompt")
        for name in ("image", "lastFrame", "video"):
            parts += _media(get(instance, name), "video" if name == "video" else "image")
        for reference in iter_items(instance, "referenceImages"):
            parts += _media(get(reference, "referenceImage"), "image")
        if parts:
            request.messages.append({"role": "user", "parts": parts})
    return request


def _media(source: Any, modality: str) -> list[Any]:
    data, uri = get(source, "bytesBase64Encoded"), get_text(source, "gcsUri")
    part = data_part(modality, get_text(source, "mimeType"), data, uri)
    return [] if part is None else [part]


def read_images(response: Any) -> list[Message]:
    """Return one message per image. Images that a safety filter removed have none."""
    images = [_media(prediction, "image") for prediction in iter_items(response, "predictions")]
    return [{"role": "assistant", "parts": parts, "finish_reason": "stop"} for parts in images if parts]


PREDICT = WireFormat(read_request, read_response, content=ContentFormat(read_content, read_images))
PREDICT_LONG = WireFormat(read_long_running_request, read_operation, content=ContentFormat(read_content))
