"""The ``litellm`` client library."""
