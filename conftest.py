"""How many examples a property is tried with: some each time, more by night (`--hypothesis-profile night`)."""

from hypothesis import settings

# A busy machine is no failure: examples may take as long as they take.
settings.register_profile("day", deadline=None, max_examples=20)
settings.register_profile("night", deadline=None, max_examples=300)
settings.load_profile("day")
