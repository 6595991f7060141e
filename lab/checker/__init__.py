"""One trial's history to its figures. Pure: no clock, no files, no Docker."""
