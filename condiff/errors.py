"""The error a person can mend: one line that names what was found, what was expected and the remedy."""


class InputError(ValueError):
    """Bad input: a file, a folder or an option. Entry points print its message alone and exit with 1."""


class NotANumber(InputError):
    """A training or a sampler has diverged."""
