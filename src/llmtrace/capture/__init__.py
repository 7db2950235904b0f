"""Lifecycle of one call, from its start to the end of its span."""
