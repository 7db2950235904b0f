"""Mistral: the routes of the ``mistralai`` library."""
