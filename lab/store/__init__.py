"""The disk: runs, the undo log, locks."""
