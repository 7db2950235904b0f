"""The vocabulary every other part shares. Standard library only."""

from .call import BILLED_OPERATIONS, Call, Cost, PromptUse, Scope
from .content import Asked, Blob, Message, Part
from .document import Document
from .exchange import Request, Response, Timing
from .finish_reasons import normal_reason
from .model_id import is_pinned
from .usage import Counts, Usage

__all__ = [
    "BILLED_OPERATIONS",
    "Asked",
    "Blob",
    "Call",
    "Cost",
    "Counts",
    "Document",
    "Message",
    "Part",
    "PromptUse",
    "Request",
    "Response",
    "Scope",
    "Timing",
    "Usage",
    "is_pinned",
    "normal_reason",
]
