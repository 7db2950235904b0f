"""Ollama: wire formats of its own API, and the hooks in its library."""
