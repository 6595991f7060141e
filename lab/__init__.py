"""The Redundancy Lab: what happens if this component fails? Answered by a measurement."""
