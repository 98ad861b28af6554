"""Commands of the three programs: one module per command, named as the command; each parses, calls and prints."""
