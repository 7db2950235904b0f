"""What images and audio of OpenAI's tell that no recording shows."""

from __future__ import annotations

import pytest

from llmtrace.providers.openai.media import SPEECH, TRANSCRIPTIONS


@pytest.mark.parametrize(("seconds", "told"), [(12.5, {"audio_seconds": 12.5}), (0, {"audio_seconds": 0})])
def test_audio_billed_by_its_length(seconds: float, told: dict[str, float]) -> None:
    """A transcription that tells seconds in place of tokens counts these."""
    assert TRANSCRIPTIONS.response({"usage": {"type": "duration", "seconds": seconds}}).usage == told
    for odd in (-1, "12", True, float("nan")):
        assert TRANSCRIPTIONS.response({"usage": {"type": "duration", "seconds": odd}}).usage is None


def test_a_stream_ends_with_its_end_event() -> None:
    """Pieces are the first that is heard; without the last event the stream is not whole."""
    for wire, kind in ((TRANSCRIPTIONS, "transcript.text"), (SPEECH, "speech.audio")):
        assert wire.accumulator is not None
        events = wire.accumulator()
        assert not events.add({"type": "novel"})
        assert events.add({"type": f"{kind}.delta"})
        assert (events.ended, events.result().complete) == (False, False)
        assert events.add({"type": f"{kind}.done", "usage": {"input_tokens": 3, "output_tokens": 4}})
        assert (events.ended, events.result().complete) == (True, True)
        assert events.result().usage == {"input": 3, "output": 4}
