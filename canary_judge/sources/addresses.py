"""Addresses and headers of servers, and what of them may be shown."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from canary_judge.errors import ConfigError

__all__ = ["header_value", "refuse_missing", "without_user"]


def header_value(name: str, value: str) -> str:
    """A header's value without the newline that files end with; the value itself is never shown."""
    value = value.strip()
    if not value.isascii() or not value.isprintable():
        raise ConfigError(f"{name}: has characters that no HTTP header can carry; check where it comes from")
    return value


def refuse_missing(*, ca: str | None, cert: str | None, key: str | None) -> None:
    """Refuse paths of certificates that are not there."""
    for name, path, what in (
        ("ca", ca, "a CA bundle"),
        ("cert", cert, "a client certificate"),
        ("key", key, "its private key"),
    ):
        if path is not None and not Path(path).exists():
            raise ConfigError(f"{name}: {path!r} does not exist; give the path of {what}")
    if key is not None and cert is None:
        raise ConfigError("key: stands without a `cert`; add it")


def without_user(url: str) -> str:
    """An address as it may be shown: without user, password, query and fragment."""
    if "://" not in url:
        return url.rsplit("@", 1)[-1]
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    try:
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        port = ""
    return urlunsplit((parts.scheme, f"{host}{port}", parts.path.rstrip("/"), "", ""))
