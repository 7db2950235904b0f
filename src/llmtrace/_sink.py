"""Base of the receivers of spans, metrics, logs and scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class Sink:
    """A receiver of batches. After ``write`` has returned, the sink delivers them or counts them as lost."""

    durable: bool = False
    """True if written items survive the process."""

    @property
    def has_backlog(self) -> bool:
        """True while items that could not be written wait for ``retry``."""
        return False

    def start(self) -> None:
        """Start threads, if the sink has any."""

    def retry(self) -> None:
        """Try again to write items that could not be written."""

    def write(self, batch: Sequence[Any]) -> None:
        """Take over a batch."""
        raise NotImplementedError

    def flush(self, deadline: float) -> bool:
        """Wait until all items are delivered. Return False if the deadline passes first."""
        raise NotImplementedError

    def close(self, deadline: float) -> bool:
        """Deliver items until the deadline, and stop. Return True if all were delivered."""
        raise NotImplementedError

    def rest(self, deadline: float) -> None:
        """Stop threads and close files. The next ``start`` or ``write`` opens them again."""

    def after_fork(self) -> None:
        """Start empty in a forked child."""
