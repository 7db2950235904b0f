"""xAI: the hooks in its library, which speaks gRPC."""
