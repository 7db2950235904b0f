"""The vocabulary every other part shares. Standard library only."""

from .call import Call, Cost, PromptUse, Scope
from .exchange import Request, Response, Timing
from .finish import normal_reason
from .usage import Counts, Usage

__all__ = ["Call", "Cost", "Counts", "PromptUse", "Request", "Response", "Scope", "Timing", "Usage", "normal_reason"]
