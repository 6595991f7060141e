"""The words of the lab as types. Imports nothing of ours; every layer speaks in these."""
