"""Send the clients of Mistral and Voyage AI to the server of the tests: no environment variable sets their address."""

import os

import wrapt


def _redirect(configuration):
    for server in configuration.SERVERS:
        configuration.SERVERS[server] = os.environ["MISTRAL_SERVER_URL"]


def _redirect_voyage(util):
    util.get_default_base_url = lambda api_key: os.environ["VOYAGE_SERVER_URL"]


wrapt.register_post_import_hook(_redirect_voyage, "voyageai.util")
wrapt.register_post_import_hook(_redirect, "mistralai.client.sdkconfiguration")
