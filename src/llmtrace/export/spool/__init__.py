"""The disk buffer in front of OTLP."""
