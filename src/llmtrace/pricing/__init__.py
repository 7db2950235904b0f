"""Money: rate cards, overrides, budgets and estimates."""
