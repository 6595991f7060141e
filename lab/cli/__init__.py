"""The command line: parse, call, print. A family of commands is one file."""
