"""Prices of calls: the catalogue, overrides, rate cards, and estimates of unreported usage."""
