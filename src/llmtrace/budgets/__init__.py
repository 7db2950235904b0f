"""Spending limits: what is configured, how it is enforced, and where spending is kept."""
