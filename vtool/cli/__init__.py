"""The command line: one module per verb; the only room that prints or exits."""
