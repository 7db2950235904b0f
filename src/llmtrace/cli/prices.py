"""``llmtrace prices``: what a model costs here, and from where."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from time import time
from typing import TextIO

import click

from .. import _settings
from .._decimal import CONTEXT
from ..model import Request, Response
from ..pricing.catalog import Catalog
from ..pricing.money import Amount, decimal
from ..pricing.price import Pricer
from ..pricing.rate_cards import RateCard, Unit
from ..report import formatting
from .terminal import echo, echo_error

__all__ = ["command", "run"]

_SEARCHED_PROVIDERS = ("openai", "anthropic", "gcp.gemini", "azure.ai.openai", "aws.bedrock", "mistral_ai", "groq", "deepseek",
              "x_ai", "cohere", "openrouter", "together_ai", "fireworks_ai", "cerebras", "perplexity", "moonshot_ai",
              "voyage_ai", "z_ai")  # fmt: skip
"""Where a name is looked for when no provider is given, vendors before resellers."""


_SHOWN = 3


def run(
    model: str | None = None, *, provider: str | None = None, prices: object = None, out: TextIO | None = None
) -> int:
    """Say what ``model`` costs, or without one what the prices are made of. Exit status 2 when nothing is known of it.

    Args:
        model: A name as a request or an answer spells it.
        provider: OpenTelemetry's name of a provider; else every place that knows the name is shown.
        prices: Overrides in place of those in ``LLMTRACE_PRICES``.
        out: Where to write; standard output by default.
    """
    out = out or sys.stdout
    try:
        pricer = Pricer(prices if prices is not None else _settings.load({}).prices)
    except _settings.ConfigError as error:
        echo_error(error)
        return 2
    catalog = pricer.load()
    if model is None:
        _overview(catalog, pricer, out)
        return 0
    known = 0
    for place in (provider,) if provider else _SEARCHED_PROVIDERS:
        card = pricer.card(place, None, Request("chat", model), Response(model=model), time())
        if card is None or not card.rates:
            continue
        known += 1
        _show(card, place, out)
        if known == _SHOWN or card.version is None:
            break
    if not known:
        where = f" at {provider}" if provider else ""
        echo(f"No price is known for {model!r}{where}. Give it one in the file LLMTRACE_PRICES names:", file=out)
        example = ("[[price]]", f'model = "{model}"', 'input = "2.50"     # USD per million tokens', 'output = "10.00"')
        for line in example:
            echo(f"  {line}", file=out)
        return 2
    return 0


def _overview(catalog: Catalog, pricer: Pricer, out: TextIO) -> None:
    providers = catalog.snapshot.providers
    models = sum(len(each.models) for each in providers)
    echo(f"Catalogue   {catalog.version}: {models:,} models of {len(providers)} providers", file=out)
    newest = catalog.newest(datetime.now(UTC).date())
    if newest is not None:
        days = (datetime.now(UTC).date() - newest).days
        echo(f"Age         newest price in it is of {newest}, {formatting.counted(days, 'day')} ago", file=out)
    if not pricer.overrides:
        echo("Overrides   none (LLMTRACE_PRICES is not set)", file=out)
    for number, override in enumerate(pricer.overrides, 1):
        what = f"as {override.alias}" if override.alias else "own prices" if override.row else "listed prices"
        factor = "" if override.multiplier == 1 else f" x {float(override.multiplier):g}"
        where = f" at {override.provider}" if override.provider else ""
        echo(f"Override {number}  {override.model}{where}: {what}{factor}", file=out)


def _show(card: RateCard, provider: str, out: TextIO) -> None:
    echo(f"{card.model}  ({provider})", file=out)
    echo(f"  from {card.version or 'an override'}{', with an override' if _changed(card) else ''}", file=out)
    for label, base, tiers in _lines(card):
        echo(f"  {label:<42} {_money(base):>14}", file=out)
        for start, price in tiers:
            echo(f"  {'  beyond ' + format(start, ',') + ' input tokens':<42} {_money(price):>14}", file=out)
    echo(file=out)


def _changed(card: RateCard) -> bool:
    return card.source == "override" and card.version is not None


def _lines(card: RateCard) -> Iterable[tuple[str, Amount, tuple[tuple[int, Amount], ...]]]:
    for unit, rates in card.rates.items():
        many, label = _measure(unit)
        yield label, rates.base * many, tuple((start, price * many) for start, price in rates.tiers)


def _measure(unit: Unit) -> tuple[int, str]:
    name = unit.name.removesuffix("_tokens").replace("_", " ")
    match unit.dimensions.get("family"):
        case "tokens":
            return 1_000_000, f"{name}, per million tokens"
        case "durations":
            return 3_600, f"{name.removesuffix(' seconds')}, per hour"
        case "characters":
            return 1_000_000, f"{name}, per million"
        case "requests":
            return 1, "each request"
    return 1_000, f"{name}, per thousand"


def _money(amount: Amount) -> str:
    return f"{CONTEXT.normalize(decimal(amount)):f} USD"


@click.command("prices")
@click.argument("model", required=False)
@click.option("--provider", help="OpenTelemetry's name of a provider, such as azure.ai.openai.")
@click.pass_context
def command(ctx: click.Context, model: str | None, provider: str | None) -> None:
    """What MODEL costs here and from where; without it, what the prices are made of."""
    ctx.exit(run(model, provider=provider))
