"""Beside the keeper of a database: whether a primary that accepts connections also takes writes, and what to do where it does not."""
