"""The life of one call, written once."""
