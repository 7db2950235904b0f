"""Data types shared by all parts of the package. Standard library only."""

from .call import BILLED_OPERATIONS, INFERENCE_OPERATIONS, Call, CallContext, Cost, PromptUse
from .content import Blob, CallContent, Message, Part, RequestContent
from .document import Document
from .exchange import Request, Response, StreamTiming
from .finish_reasons import normalize_finish_reason
from .model_id import is_pinned
from .usage import Counts, Usage

__all__ = [
    "BILLED_OPERATIONS",
    "INFERENCE_OPERATIONS",
    "Blob",
    "Call",
    "CallContent",
    "CallContext",
    "Cost",
    "Counts",
    "Document",
    "Message",
    "Part",
    "PromptUse",
    "Request",
    "RequestContent",
    "Response",
    "StreamTiming",
    "Usage",
    "is_pinned",
    "normalize_finish_reason",
]
