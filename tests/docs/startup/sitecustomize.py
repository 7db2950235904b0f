"""Send Mistral's client to the server of the tests: no environment variable sets its address."""

import os

import wrapt


def _redirect(configuration):
    for server in configuration.SERVERS:
        configuration.SERVERS[server] = os.environ["MISTRAL_SERVER_URL"]


wrapt.register_post_import_hook(_redirect, "mistralai.client.sdkconfiguration")
