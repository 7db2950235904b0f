"""Rate cards against the library they are compiled from."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from llmtrace.pricing.catalog import Catalog, CatalogMatch
from llmtrace.pricing.money import decimal
from llmtrace.pricing.rate_cards import FIELDS

COUNTED = {name: field for name, field in FIELDS.items() if name != "input_audio_seconds"}


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog()


def moments(model: Any) -> list[datetime]:
    """Return times before and after every change of a price, and now."""
    found = [datetime(2024, 1, 1, tzinfo=UTC), datetime.now(UTC)]
    dated = model.prices if isinstance(model.prices, list) else []
    for one in (*dated, *(model.price_variants or ())):
        start = getattr(one.constraint, "start_date", None)
        if start is not None:
            found += [datetime(start.year, start.month, start.day, hour, tzinfo=UTC) for hour in (0, 13, 20)]
        elif one.constraint is not None:
            found += [
                datetime(2026, 11, 1, hour, minute, tzinfo=UTC) for hour in (0, 1, 9, 16, 17) for minute in (29, 30)
            ]
    return found


def contexts(model: Any) -> list[dict[str, str]]:
    return [{}, *(dict(variant.when) for variant in model.price_variants or ())]


def random_usage(rng: random.Random, model: Any) -> dict[str, Any]:
    """Return counts that a provider could report: parts never exceed their totals."""
    del model
    small = rng.choice([10, 5_000, 150_000])
    read, write5, write1 = (rng.randrange(small) for _ in range(3))
    reasoning = rng.randrange(small)
    audio_in, image_in, video_in, audio_read = (rng.randrange(1_000) for _ in range(4))
    audio_out, image_out, video_out = (rng.randrange(1_000) for _ in range(3))
    read = max(read, audio_read)
    usage = {
        "input_tokens": read + write5 + write1 + audio_in + image_in + video_in + rng.randrange(small * 2),
        "output_tokens": reasoning + audio_out + image_out + video_out + rng.randrange(small),
        "cache_read_tokens": read,
        "cache_write_tokens": write5 + write1,
        "cache_write_5m_tokens": write5,
        "cache_write_1h_tokens": write1,
        "output_reasoning_tokens": reasoning,
        "input_audio_tokens": audio_in + audio_read,
        "input_image_tokens": image_in,
        "input_video_tokens": video_in,
        "cache_audio_read_tokens": audio_read,
        "cache_image_read_tokens": 0,
        "cache_text_read_tokens": 0,
        "cache_video_read_tokens": 0,
        "output_audio_tokens": audio_out,
        "output_image_tokens": image_out,
        "output_video_tokens": video_out,
        "web_searches": rng.randrange(5),
        "storage_searches": rng.randrange(5),
        "code_executions": rng.randrange(5),
        "audio_seconds": rng.choice([rng.randrange(600), round(rng.random() * 100, 2)]),
        "input_characters": rng.randrange(10_000),
        "rerank_searches": rng.randrange(3),
    }
    usage["input_tokens"] += audio_read
    return usage


def test_rate_cards_equal_the_prices_of_the_library(catalog: Catalog) -> None:
    """A rate card results in the library's own price, to the last digit, for all models, variants and dates."""
    from genai_prices.data_snapshot import get_snapshot
    from genai_prices.types import Usage

    rng = random.Random(20261124)
    compared = 0
    for provider, theirs in zip(catalog.snapshot.providers, get_snapshot().providers, strict=True):
        for model, their_model in zip(provider.models, theirs.models, strict=True):
            found = CatalogMatch(provider, model)
            for moment in moments(model):
                for context in contexts(model):
                    usage = random_usage(rng, model)
                    reported = {**usage, "input_audio_seconds": usage["audio_seconds"]}
                    expected = their_model.calc_price(
                        Usage(**reported), theirs, genai_request_timestamp=moment, price_context=context
                    )
                    card, since, until, _ = catalog.card(found, context, moment.timestamp())
                    assert since <= moment.timestamp() < until
                    card.renamed = {}  # a rule of ours about what counts, not about prices
                    priced = card.price({COUNTED[name]: count for name, count in usage.items()})
                    if priced.reason == "unknown_unit":
                        assert expected.total_price == 0
                    else:
                        assert priced.reason is None, (provider.id, model.id, priced.reason)
                        assert decimal(priced.units) == expected.total_price, (provider.id, model.id, context)
                        assert sum(priced.cost().parts.values(), Decimal(0)) == pytest.approx(expected.total_price)
                    compared += 1
    assert compared > 2_500


def test_model_ids_find_the_same_model_as_the_library(catalog: Catalog) -> None:
    """Each model's own id finds the same model as the library's look-up does."""
    from llmtrace.pricing.catalog import CatalogMatch as Same

    for provider in catalog.snapshot.providers:
        for model in provider.models:
            expected = provider.find_model(model.id, all_providers=catalog.snapshot.providers)
            found = catalog.find(provider.id, model.id)
            if expected is not model:
                continue  # shadowed by an earlier, looser clause: not for us to judge
            assert isinstance(found, Same), (provider.id, model.id)
            assert found.model is model, (provider.id, model.id, found.model.id)
