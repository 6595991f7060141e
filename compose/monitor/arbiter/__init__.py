"""Beside the monitor: who keeps the users' address where two balancers hold it and do not hear each other."""
