"""What may be said of many results: statistics, comparison, budgets, the availability model. Pure but for reading them."""
