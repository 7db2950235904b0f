"""Bridges to frameworks, which give their graphs, agents, tools and searches a span each."""
