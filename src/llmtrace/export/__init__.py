"""Export of spans, metrics, logs and scores."""
