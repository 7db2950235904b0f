"""Prices of calls: the catalog, overrides, rate cards, and estimates of unreported usage."""
