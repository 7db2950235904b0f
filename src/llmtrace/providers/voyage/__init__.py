"""Voyage AI: the hooks in its library."""
