"""The ``openai`` client library."""

from __future__ import annotations

from typing import Any

from ...capture.services import CallServices
from .._patches import Patches
from ..contract import Provider, named, stainless
from .agents import SESSION, SESSION_EVENTS, SESSION_INPUT, SESSION_UPDATE, TURN, TURNS
from .assistants import RETRIEVE_RUN, RUN
from .batches import BATCH
from .chat import CHAT, COMPLETIONS
from .embeddings import EMBEDDINGS
from .evals import EVAL_RUN
from .media import IMAGES, MODERATIONS, SPEECH, TRANSCRIPTIONS
from .realtime import REALTIME
from .responses import COMPACT, DECISIONS, INPUT_TOKENS, RESPONSES, RETRIEVE_RESPONSE


def _hook(provider: Provider, module: Any, services: CallServices) -> Patches:
    from .sockets import hook_sockets

    patches = stainless(provider, module, services)
    hook_sockets(provider, services, patches)
    return patches


OPENAI = Provider(
    name="openai",
    distribution="openai",
    module="openai._base_client",
    supported=">=1.40,<4",
    hook=_hook,
    routes=named(
        "openai",
        {
            ("POST", "/chat/completions"): ("chat.completions.create", CHAT),
            ("POST", "/completions"): ("completions.create", COMPLETIONS),
            ("POST", "/embeddings"): ("embeddings.create", EMBEDDINGS),
            ("POST", "/responses"): ("responses.create", RESPONSES),
            ("GET", "/responses/*"): ("responses.retrieve", RETRIEVE_RESPONSE),
            ("POST", "/responses/*/cancel"): ("responses.cancel", RETRIEVE_RESPONSE),
            ("POST", "/responses/compact"): ("responses.compact", COMPACT),
            ("POST", "/responses/input_tokens"): ("responses.input_tokens.count", INPUT_TOKENS),
            ("POST", "/decisions"): ("decisions.create", DECISIONS),
            ("POST", "/moderations"): ("moderations.create", MODERATIONS),
            ("POST", "/images/generations"): ("images.generate", IMAGES),
            ("POST", "/images/edits"): ("images.edit", IMAGES),
            ("POST", "/images/variations"): ("images.create_variation", IMAGES),
            ("POST", "/audio/speech"): ("audio.speech.create", SPEECH),
            ("POST", "/audio/transcriptions"): ("audio.transcriptions.create", TRANSCRIPTIONS),
            ("POST", "/audio/translations"): ("audio.translations.create", TRANSCRIPTIONS),
            ("GET", "/batches/*"): ("batches.retrieve", BATCH),
            ("GET", "/evals/*/runs/*"): ("evals.runs.retrieve", EVAL_RUN),
            ("POST", "/evals/*/runs/*/cancel"): ("evals.runs.cancel", EVAL_RUN),
            ("POST", "/threads/runs"): ("beta.threads.create_and_run", RUN),
            ("POST", "/threads/*/runs"): ("beta.threads.runs.create", RUN),
            ("POST", "/threads/*/runs/*/submit_tool_outputs"): ("beta.threads.runs.submit_tool_outputs", RUN),
            ("GET", "/threads/*/runs/*"): ("beta.threads.runs.retrieve", RETRIEVE_RUN),
            ("POST", "/agents/sessions"): ("beta.agents.sessions.create", SESSION),
            ("POST", "/agents/sessions/*"): ("beta.agents.sessions.update", SESSION_UPDATE),
            ("POST", "/agents/sessions/*/events"): ("beta.agents.sessions.events.create", SESSION_INPUT),
            ("GET", "/agents/sessions/*/events"): ("beta.agents.sessions.events.stream", SESSION_EVENTS),
            ("GET", "/agents/sessions/*/turns"): ("beta.agents.sessions.turns.list", TURNS),
            ("GET", "/agents/sessions/*/turns/*"): ("beta.agents.sessions.turns.retrieve", TURN),
            ("CONNECT", "/responses"): ("responses.connect", RESPONSES),  # one call per response on a WebSocket
            ("CONNECT", "/realtime"): ("realtime.connect", REALTIME),
            ("CONNECT", "/realtime/transcription"): ("realtime.connect", TRANSCRIPTIONS),
        },
    ),
)
