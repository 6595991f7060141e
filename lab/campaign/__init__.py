"""Many trials: comparisons, the search for single points of failure, the monkey."""
