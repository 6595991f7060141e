"""A running stage: files, lifecycle, readiness, databases."""
