"""OpenAI images and audio that no recording covers."""

from __future__ import annotations

import pytest

from llmtrace.providers.openai.media import SPEECH, TRANSCRIPTIONS


@pytest.mark.parametrize(("seconds", "reported"), [(12.5, {"audio_seconds": 12.5}), (0, {"audio_seconds": 0})])
def test_transcription_seconds_are_counted(seconds: float, reported: dict[str, float]) -> None:
    """A transcription that reports seconds in place of tokens counts seconds."""
    assert TRANSCRIPTIONS.response({"usage": {"type": "duration", "seconds": seconds}}).usage == reported
    for odd in (-1, "12", True, float("nan")):
        assert TRANSCRIPTIONS.response({"usage": {"type": "duration", "seconds": odd}}).usage is None


def test_stream_without_end_event_is_incomplete() -> None:
    """Pieces are content; without its last event the stream is incomplete."""
    for wire, kind in ((TRANSCRIPTIONS, "transcript.text"), (SPEECH, "speech.audio")):
        assert wire.accumulator is not None
        events = wire.accumulator()
        assert not events.add({"type": "novel"})
        assert events.add({"type": f"{kind}.delta"})
        assert (events.ended, events.result().complete) == (False, False)
        assert events.add({"type": f"{kind}.done", "usage": {"input_tokens": 3, "output_tokens": 4}})
        assert (events.ended, events.result().complete) == (True, True)
        assert events.result().usage == {"input": 3, "output": 4}
