"""Spending limits: definitions of budgets, their enforcement, and the stores of spending."""
