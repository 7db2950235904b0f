-- Clear names: a dimension is not a fact, and the packed columns are called like their layouts.
DROP VIEW IF EXISTS llm_calls;
ALTER TABLE facts RENAME TO dimensions;
ALTER TABLE spans RENAME COLUMN facts TO dimensions;
ALTER TABLE calls RENAME COLUMN facts TO dimensions;
ALTER TABLE calls RENAME COLUMN figures TO metrics;
ALTER TABLE calls RENAME COLUMN likeness TO similarity;
CREATE VIEW llm_calls AS
    SELECT lower(hex(t.trace)) AS trace_id, lower(hex(s.span)) AS span_id,
        strftime('%Y-%m-%dT%H:%M:%fZ', c.started / 1e6, 'unixepoch') AS started_at, c.duration / 1e6 AS seconds,
        c.first_token / 1e6 AS time_to_first_token,
        d.client, d.service, d.operation, d.provider, d.request_model, d.response_model, d.api, d.tier,
        d.feature, d.tenant, d.prompt, d.prompt_version, d.prompt_hash, d.tags, d.outcome, d.error_type,
        d.finish, d.streamed, d.stream_end, d.usage_source, d.unpriced, d.approximate, d.pinned,
        c.input, c.output, c.cache_read, c.cache_write, c.reasoning, c.cost / 1e12 AS cost_usd,
        u.text AS user, n.text AS session, l.text AS labels
    FROM calls c JOIN dimensions d ON d.id = c.dimensions
    JOIN spans s ON s.id = c.span JOIN traces t ON t.id = s.trace
    LEFT JOIN texts u ON u.id = c.user LEFT JOIN texts n ON n.id = c.session LEFT JOIN texts l ON l.id = c.labels
