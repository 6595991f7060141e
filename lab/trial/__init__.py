"""One trial, from settling to the audit."""
