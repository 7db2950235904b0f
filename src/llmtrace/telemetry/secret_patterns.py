"""Patterns of the built-in redactor: secrets with a recognizable prefix, and names of secret settings."""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["CREDENTIAL_NAMES", "PASSWORD_NAMES", "SECRETS", "TOKEN_NAMES", "Secret"]


class Secret(NamedTuple):
    """One kind of secret that has a recognizable prefix."""

    name: str
    mark: str
    """Text that every match contains; the pattern is searched only in texts that contain it."""
    pattern: str
    token: str = "[API_KEY]"
    """Replacement text."""
    word: bool = False
    """True if the prefix may also be the middle of a word, as ``sk-`` in ``task-force``."""


def _prefixed(rows: str) -> list[Secret]:
    """Return the secrets of a table with one ``name | prefix | rest`` on each line."""
    secrets = []
    for row in rows.strip().splitlines():
        name, mark, rest = (cell.strip() for cell in row.split("|", 2))
        secrets.append(Secret(name, mark, re.escape(mark) + rest, word=len(mark.strip("_-.")) < 4))
    return secrets


SECRETS: tuple[Secret, ...] = (
    # Match the complete block, escaped line breaks included. Match a truncated block up to the next quote or bracket.
    Secret(
        "private key block",
        "PRIVATE KEY",
        r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----[^\"'`<>{}]*?"
        r"(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|(?=[\"'`<>{}])|\Z)",
        "[PRIVATE_KEY]",
    ),
    Secret(
        "PuTTY private key",
        "Private-Lines:",
        r"Private-Lines:[ \t]*\d+[\r\n]+[A-Za-z0-9+/=\s]{16,}",
        "[PRIVATE_KEY]",
    ),
    # Put look-behinds after a literal: they cost nothing there.
    Secret("JSON web token", "eyJ", r"eyJ(?<![\w-]eyJ)[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*){0,3}", "[JWT]"),
    Secret(
        "Slack webhook",
        "hooks.slack",
        r"hooks\.slack(?:-gov)?\.com/(?:services|workflows|triggers)/[\w/+-]{8,}",
        "[WEBHOOK]",
    ),
    Secret("Discord webhook", "/webhooks/", r"/webhooks/\d{5,30}/[\w-]{30,}", "[WEBHOOK]"),
    Secret("Teams webhook", "office", r"office(?:365)?\.com/webhook(?:b2)?/[\w@/.-]{8,}", "[WEBHOOK]"),
    Secret("Azure shared access signature, Power Automate", "sig=", r"sig=[\w%+/.~=-]{16,}", word=True),
    Secret("Google Chat webhook", "chat.googleapis", r"chat\.googleapis\.com/v1/spaces/[^\s\"'<>`\\]{8,}", "[WEBHOOK]"),
    Secret("Zapier webhook", "hooks.zapier", r"hooks\.zapier\.com/hooks/[\w/]{6,}", "[WEBHOOK]"),
    Secret("Make webhook", ".make.com/", r"\.make\.com/(?<=hook\.[a-z]{2}[0-9]\.make\.com/)[\w-]{16,}", "[WEBHOOK]"),
    Secret(
        "IFTTT webhook",
        "maker.ifttt",
        r"maker\.ifttt\.com/trigger/[\w-]{1,80}/(?:json/)?with/key/[\w-]{8,}",
        "[WEBHOOK]",
    ),
    Secret(
        "Mattermost or Rocket.Chat webhook",
        "/hooks/",
        r"/hooks/[A-Za-z0-9]{17,32}(?:/[\w-]{16,})?(?![\w-])",
        "[WEBHOOK]",
    ),
    Secret("Telegram bot token", ":AA", r":AA(?<=[0-9]{6}:AA)[\w-]{30,}"),
    *(Secret("bearer token", mark, mark + r"[ \t:+=]{1,3}[\w.~+/-]{16,}=*") for mark in ("Bearer", "bearer", "BEARER")),
    Secret(
        "Discord bot token",
        ".",
        r"\.(?:(?<=[MNO][\w-]{23}\.)|(?<=[MNO][\w-]{25}\.))[\w-]{6}\.[\w-]{27,45}(?![\w-])",
    ),
    Secret("Twilio account and token", "AC", r"AC[0-9a-f]{32}:[0-9a-f]{32}(?![0-9A-Za-z])"),
    Secret("Azure client secret", "8Q~", r"8Q~(?<=[\w~.-]{3}8Q~)[\w~.-]{31,34}"),
    Secret("Azure AI key", "JQQJ99", r"JQQJ99[A-Za-z0-9]{20,40}"),
    Secret("Terraform token", ".atlasv1.", r"\.atlasv1\.[\w=-]{40,}"),
    Secret("Mailchimp key", "-us", r"-us(?<=[0-9a-f]{32}-us)[0-9]{1,2}(?![\w-])"),
    *_prefixed(
        r"""
        OpenAI, Anthropic, OpenRouter, DeepSeek, Langfuse | sk- | [\w-]{16,}
        OpenAI session       | sess-        | [A-Za-z0-9]{30,}
        Stripe               | sk_live_     | \w{10,}
        Stripe publishable   | pk_live_     | \w{10,}
        Stripe restricted    | rk_live_     | \w{10,}
        Stripe test          | sk_test_     | \w{10,}
        Stripe test          | rk_test_     | \w{10,}
        Stripe webhook       | whsec_       | [\w+/=]{16,}
        AWS                  | AKIA         | [0-9A-Z]{16}
        AWS temporary        | ASIA         | [0-9A-Z]{16}
        AWS Bedrock          | ABSK         | [\w+/]{60,}=*
        Google               | AIza         | [\w-]{30,}
        Google access        | ya29.        | [\w.-]{20,}
        Google refresh       | 1//0         | [\w-]{30,}
        Google client secret | GOCSPX-      | [\w-]{20,}
        GitHub               | ghp_         | \w{30,}
        GitHub               | gho_         | \w{30,}
        GitHub               | ghu_         | \w{30,}
        GitHub               | ghs_         | \w{30,}
        GitHub               | ghr_         | \w{30,}
        GitHub fine-grained  | github_pat_  | \w{30,}
        GitLab               | glpat-       | [\w.-]{16,}
        GitLab deploy        | gldt-        | [\w.-]{16,}
        GitLab runner        | glrt-        | [\w.-]{16,}
        GitLab trigger       | glptt-       | [\w.-]{16,}
        GitLab job           | glcbt-       | [\w.-]{16,}
        GitLab feed          | glft-        | [\w.-]{16,}
        GitLab runner        | GR1348941    | [\w-]{16,}
        Slack                | xoxa-        | [\w-]{10,}
        Slack bot            | xoxb-        | [\w-]{10,}
        Slack cookie         | xoxd-        | [\w%-]{10,}
        Slack user           | xoxp-        | [\w-]{10,}
        Slack                | xoxo-        | [\w-]{10,}
        Slack                | xoxr-        | [\w-]{10,}
        Slack                | xoxs-        | [\w-]{10,}
        Slack client         | xoxc-        | [\w-]{10,}
        Slack refresh        | xoxe-        | [\w-]{10,}
        Slack app            | xapp-        | [\w-]{10,}
        Hugging Face         | hf_          | \w{20,}
        Hugging Face         | api_org_     | \w{20,}
        Groq                 | gsk_         | \w{20,}
        xAI                  | xai-         | \w{20,}
        Perplexity           | pplx-        | \w{20,}
        NVIDIA               | nvapi-       | [\w-]{20,}
        Replicate            | r8_          | \w{30,}
        Together             | tgp_v1_      | [\w-]{20,}
        LangSmith            | lsv2_        | \w{30,}
        Pinecone             | pcsk_        | \w{30,}
        Tavily               | tvly-        | [\w-]{20,}
        npm                  | npm_         | \w{30,}
        PyPI                 | pypi-        | [\w-]{30,}
        RubyGems             | rubygems_    | [0-9a-f]{40,}
        SendGrid             | SG.          | [\w-]{16,}\.[\w-]{16,}
        Twilio               | SK           | [0-9a-f]{32}(?![0-9A-Za-z])
        Mailgun              | key-         | [0-9a-f]{32}(?![0-9A-Za-z])
        DigitalOcean         | dop_v1_      | [0-9a-f]{40,}
        DigitalOcean         | doo_v1_      | [0-9a-f]{40,}
        Shopify              | shpat_       | [0-9A-Za-z]{30,}
        Shopify              | shpss_       | [0-9A-Za-z]{30,}
        Square               | sq0csp-      | [\w-]{30,}
        Databricks           | dapi         | [0-9a-f]{32}(?:-[0-9])?(?![0-9A-Za-z])
        Doppler              | dp.pt.       | \w{30,}
        Linear               | lin_api_     | \w{30,}
        Notion               | ntn_         | \w{30,}
        Figma                | figd_        | [\w-]{30,}
        Supabase             | sbp_         | [0-9a-f]{40}
        Supabase             | sb_secret_   | [\w-]{20,}
        HashiCorp Vault      | hvs.         | [\w-]{20,}
        HashiCorp Vault      | hvb.         | [\w-]{20,}
        PlanetScale          | pscale_      | [\w.-]{30,}
        Grafana              | glsa_        | \w{30,}
        Grafana Cloud        | glc_         | [\w+/=]{30,}
        Sentry               | sntrys_      | [\w+/=]{30,}
        Sentry               | sntryu_      | \w{30,}
        New Relic            | NRAK-        | [0-9A-Z]{20,}
        Postman              | PMAK-        | [\w-]{30,}
        Docker               | dckr_pat_    | [\w-]{20,}
        Docker               | dckr_oat_    | [\w-]{20,}
        Atlassian            | ATATT3       | [\w=-]{30,}
        Netlify              | nfp_         | \w{30,}
        Age                  | AGE-SECRET-KEY-1 | [0-9A-Z]{40,}
        """
    ),
)

PASSWORD_NAMES = ("password", "passwd", "pwd", "passphrase", "passwort", "userpass", "dbpass", "pgpassword")
"""Suffixes of names whose values are passwords of any form; lower case, without punctuation."""
TOKEN_NAMES = (
    *("apikey", "accesskey", "secretkey", "accountkey", "sharedaccesskey", "privatekey", "subscriptionkey"),
    *("encryptionkey", "signingkey", "masterkey", "authkey", "secret", "secretaccesskey", "clientsecret"),
    *("token", "accesstoken", "refreshtoken", "idtoken", "authtoken", "sessiontoken", "bearertoken", "credential"),
    *("sharedaccesssignature",),
)
"""Suffixes of names whose values are keys: long, and not a word."""
CREDENTIAL_NAMES = ("authorization", "proxyauthorization", "xauth")
"""Suffixes of names whose values are a scheme and a credential, such as ``Bearer abc``."""
