"""The local store: one SQLite file that many processes write to and ``llmtrace report`` reads."""
