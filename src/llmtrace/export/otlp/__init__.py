"""OTLP: encoding, transports and the queue in front of them."""
