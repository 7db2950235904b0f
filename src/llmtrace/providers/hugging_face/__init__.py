"""Hugging Face: the inference clients of its library, and the wire formats of its own servers."""
