-- Calls are stored in the order of their dimensions (``facts`` in versions 1 and 2): a report is one pass and needs no
-- sorting. Attributes, which no report reads, are stored in ``spans``.
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
INSERT INTO meta VALUES ('generation', 0);
CREATE TABLE texts (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);
CREATE TABLE resources (id INTEGER PRIMARY KEY, json TEXT NOT NULL UNIQUE);
CREATE TABLE facts (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE,
    client, service, operation, provider, request_model, response_model, api, tier, feature, tenant, prompt,
    prompt_version, prompt_hash, tags, outcome, error_type, finish, streamed, stream_end, usage_source,
    unpriced, approximate, pinned
);
CREATE TABLE traces (
    id INTEGER PRIMARY KEY, trace BLOB NOT NULL UNIQUE, started INTEGER NOT NULL, ended INTEGER NOT NULL,
    spans INTEGER NOT NULL, calls INTEGER NOT NULL, errors INTEGER NOT NULL, tokens INTEGER NOT NULL,
    cost INTEGER NOT NULL, name TEXT
);
CREATE INDEX traces_by_cost ON traces (cost);
CREATE INDEX traces_by_duration ON traces (ended - started);
CREATE INDEX traces_by_end ON traces (ended);
CREATE TABLE spans (
    id INTEGER PRIMARY KEY, trace INTEGER NOT NULL, span BLOB NOT NULL, parent BLOB, started INTEGER NOT NULL,
    duration INTEGER NOT NULL, resource INTEGER NOT NULL, facts INTEGER, body BLOB NOT NULL
);
CREATE INDEX spans_by_trace ON spans (trace);
CREATE TABLE calls (
    facts INTEGER NOT NULL, started INTEGER NOT NULL, span INTEGER NOT NULL,
    duration INTEGER, first_token INTEGER, input INTEGER, output INTEGER, cache_read INTEGER, cache_write
    INTEGER, reasoning INTEGER, cost INTEGER, cost_input INTEGER, estimated_cost INTEGER, estimated_input
    INTEGER, estimated_output INTEGER, speed INTEGER, stalls INTEGER, exact_hash INTEGER, near_hash INTEGER,
    prefix_hash INTEGER, prefix_tokens INTEGER, wasted_tokens INTEGER, user INTEGER, session INTEGER, labels
    INTEGER,
    PRIMARY KEY (facts, started, span)
) WITHOUT ROWID;
CREATE VIEW llm_calls AS
    SELECT lower(hex(t.trace)) AS trace_id, lower(hex(s.span)) AS span_id,
        strftime('%Y-%m-%dT%H:%M:%fZ', c.started / 1e6, 'unixepoch') AS started_at, c.duration / 1e6 AS seconds,
        c.first_token / 1e6 AS time_to_first_token,
        f.client, f.service, f.operation, f.provider, f.request_model, f.response_model, f.api, f.tier,
        f.feature, f.tenant, f.prompt, f.prompt_version, f.prompt_hash, f.tags, f.outcome, f.error_type,
        f.finish, f.streamed, f.stream_end, f.usage_source, f.unpriced, f.approximate, f.pinned,
        c.input, c.output, c.cache_read, c.cache_write, c.reasoning, c.cost / 1e12 AS cost_usd,
        u.text AS user, n.text AS session, l.text AS labels
    FROM calls c JOIN facts f ON f.id = c.facts JOIN spans s ON s.id = c.span JOIN traces t ON t.id = s.trace
    LEFT JOIN texts u ON u.id = c.user LEFT JOIN texts n ON n.id = c.session LEFT JOIN texts l ON l.id = c.labels;
