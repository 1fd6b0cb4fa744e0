"""Addresses and headers of servers, and what of them may be shown."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

from canary_judge.errors import ConfigError

__all__ = ["header_value", "without_user"]


def header_value(name: str, value: str) -> str:
    """A header's value without the newline that files end with; the value itself is never shown."""
    value = value.strip()
    if not value.isascii() or not value.isprintable():
        raise ConfigError(f"{name}: has characters that no HTTP header can carry; check where it comes from")
    return value


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
