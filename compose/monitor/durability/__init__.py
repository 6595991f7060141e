"""Beside the monitor of several regions: which databases a commit waits for, kept as the primary and the regions change."""
