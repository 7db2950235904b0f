"""The contract for adding a client library, and the wire formats that several libraries share.

A package that adds one has an entry point in the group ``llmtrace.providers``, which names a ``Provider``.
"""

from ..model import Request, Response
from ..model.content_format import ContentFormat
from ..model.wire_format import Accumulator, HeaderReader, ReadTexts, WireFormat
from .anthropic.messages import MESSAGES
from .contract import Hook, NativeSpans, Provider, SearchReaders, botocore, named, speakeasy, stainless
from .openai.chat import CHAT, COMPLETIONS
from .openai.embeddings import EMBEDDINGS
from .openai.responses import RESPONSES
from .rerank import RERANK

__all__ = [
    "CHAT",
    "COMPLETIONS",
    "EMBEDDINGS",
    "MESSAGES",
    "RERANK",
    "RESPONSES",
    "Accumulator",
    "ContentFormat",
    "HeaderReader",
    "Hook",
    "NativeSpans",
    "Provider",
    "ReadTexts",
    "Request",
    "Response",
    "SearchReaders",
    "WireFormat",
    "botocore",
    "named",
    "speakeasy",
    "stainless",
]
