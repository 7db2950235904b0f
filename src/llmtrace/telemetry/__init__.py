"""OpenTelemetry spans, metrics and events of calls and operations; all attribute names are defined here."""
