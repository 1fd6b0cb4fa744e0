"""What a caller said, and what went wrong, for a message."""

from canary_judge.untrusted import printable

__all__ = ["one_line", "shown"]


def shown(value: object) -> str:
    """A value of a caller for a message: one line, not long."""
    text = printable(repr(value))
    return text if len(text) <= 80 else f"{text[:77]}..."


def one_line(text: object) -> str:
    """A text, or an error, in one line in which nothing moves the cursor."""
    return printable(str(text)).replace("\n", " ")
