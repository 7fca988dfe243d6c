"""The error a person can mend: one line that names what was found, what was expected and the remedy."""


def printable(text: str) -> str:
    """The text in one line: control characters, which a file may hold to mislead a terminal, are escaped."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


class InputError(ValueError):
    """Bad input: a file, a folder or an option. Entry points print its message alone, in one line, and exit with 1."""

    def __init__(self, message: str = ""):
        super().__init__(printable(message))


class NotANumber(InputError):
    """A training or a sampler has diverged."""
