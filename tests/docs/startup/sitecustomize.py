"""Send clients to the server of the tests if no environment variable sets their address; xAI's has no server."""

import os

import wrapt


def _redirect(configuration):
    for server in configuration.SERVERS:
        configuration.SERVERS[server] = os.environ["MISTRAL_SERVER_URL"]


def _redirect_voyage(util):
    util.get_default_base_url = lambda api_key: os.environ["VOYAGE_SERVER_URL"]


class _XaiChannel:
    """Channel that answers each request of a chat itself."""

    def unary_unary(self, path, **_):
        from xai_sdk.proto import chat_pb2

        message = chat_pb2.CompletionMessage(content="The sky is blue.", role="ROLE_ASSISTANT")
        outputs = [chat_pb2.CompletionOutput(message=message)]
        return lambda request: chat_pb2.GetChatCompletionResponse(model=request.model, outputs=outputs)

    def unary_stream(self, path, **_):
        from xai_sdk.proto import chat_pb2

        delta = chat_pb2.Delta(content="Blue.", role="ROLE_ASSISTANT")
        outputs = [chat_pb2.CompletionOutputChunk(delta=delta, finish_reason="REASON_STOP")]
        return lambda request: iter([chat_pb2.GetChatCompletionChunk(model=request.model, outputs=outputs)])

    stream_unary = stream_stream = unary_unary


def _redirect_xai(client):
    client.Client._make_grpc_channel = lambda *_: _XaiChannel()


wrapt.register_post_import_hook(_redirect_xai, "xai_sdk.sync.client")
wrapt.register_post_import_hook(_redirect_voyage, "voyageai.util")
wrapt.register_post_import_hook(_redirect, "mistralai.client.sdkconfiguration")
