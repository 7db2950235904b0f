"""Facts to OpenTelemetry spans; the only place that knows attribute names."""
