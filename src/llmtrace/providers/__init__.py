"""Hooks into each vendor's SDK, readers of each wire format, and the provider that a client calls."""
