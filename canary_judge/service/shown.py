"""What a caller said, for a message."""

from canary_judge.untrusted import printable

__all__ = ["shown"]


def shown(value: object) -> str:
    """A value of a caller for a message: one line, not long."""
    text = printable(repr(value))
    return text if len(text) <= 80 else f"{text[:77]}..."
