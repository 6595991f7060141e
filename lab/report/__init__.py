"""Reports: what a run says, for people and for programs. Never talks to Docker: made from the journal alone."""
