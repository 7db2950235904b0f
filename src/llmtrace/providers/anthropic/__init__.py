"""Anthropic wire formats."""
