"""The commands, and what they share: command line, validation, one-line errors."""
