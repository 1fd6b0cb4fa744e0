"""Who may call: tokens, and where callers can put them.

Many callers can send no header: Go's clients make Basic of `http://judge:TOKEN@host`, Java's do not, so that a path
`/t/TOKEN/...` says the same. Neither a token nor a query string is ever written to a log.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from canary_judge.errors import ConfigError

__all__ = ["ALL", "LOOK", "READ", "Token", "may", "needed", "read_tokens", "tokens_in", "who"]

READ, LOOK, ALL = "read", "look", "all"
_RANK = {READ: 0, LOOK: 1, ALL: 2}
_SHORTEST = 8


@dataclass(frozen=True, slots=True)
class Token:
    """One caller.

    Attributes:
        secret: What it sends.
        may: read, look (and read), or all.
        name: For the log.
    """

    secret: str
    may: str
    name: str


def read_tokens(path: Path) -> list[Token]:
    """The tokens of a file: `TOKEN [look|read|all] [NAME]` on each line; all where nothing is said.

    Raises:
        ConfigError: It cannot be read, or a line is none; the message does not show the token.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    found: list[Token] = []
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        secret, allowed, name = (*words, "", "")[:3]
        allowed = allowed or ALL
        if allowed not in _RANK or len(words) > 3:
            raise ConfigError(f"{path}: line {number}: write TOKEN [look|read|all] [NAME]")
        if len(secret) < _SHORTEST:
            raise ConfigError(f"{path}: line {number}: the token has fewer than {_SHORTEST} characters")
        if "/" in secret or not secret.isascii():
            raise ConfigError(f"{path}: line {number}: a token is of letters, digits and signs but /")
        found.append(Token(secret, allowed, name or f"token {number}"))
    if not found:
        raise ConfigError(f"{path}: holds no token; write one on a line, or leave --token-file out")
    return found


def tokens_in(headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
    """What callers send as Authorization: Bearer, or the password of Basic; a caller may send several lines."""
    found = []
    for name, value in headers:
        if name.lower() != b"authorization":
            continue
        kind, _, rest = value.decode("latin-1").partition(" ")
        if kind.lower() == "bearer":
            found.append(rest.strip())
        elif kind.lower() == "basic":
            try:
                user, _, password = base64.b64decode(rest, validate=False).decode().partition(":")
            except (binascii.Error, ValueError):
                continue
            found.append(password or user)
    return found


def who(tokens: Sequence[Token], sent: Sequence[str]) -> Token | None:
    """The token with the most rights among those that were sent; how long it takes tells nothing of the tokens."""
    found: Token | None = None
    for token in tokens:
        for text in sent:
            same = hmac.compare_digest(token.secret.encode(), text.encode("utf-8", "surrogatepass"))
            if same and (found is None or _RANK[token.may] > _RANK[found.may]):
                found = token
    return found


def may(token: Token, need: str) -> bool:
    """Whether it suffices."""
    return _RANK[token.may] >= _RANK[need]


def needed(method: str, path: str) -> str | None:
    """What a call needs; None: nothing.

    Examples:
        >>> needed("GET", "/healthz"), needed("POST", "/v1/looks"), needed("GET", "/v1/runs")
        (None, 'look', 'read')
    """
    if path in ("/healthz", "/readyz"):
        return None
    if path.startswith("/prom/"):
        return LOOK  # asking is a look
    if method in ("GET", "HEAD", "OPTIONS"):
        return READ
    if path.startswith("/kayenta/canaryConfig"):
        return ALL
    return LOOK
