"""HAProxy: the weights of servers, by the runtime socket."""

from __future__ import annotations

import csv
import io
import math
import socket
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple, Self

from pydantic import BeforeValidator, Field

from canary_judge.config.metrics import StrictModel
from canary_judge.config.reading import read_options
from canary_judge.errors import (
    DestinationNotFound,
    DriftDetected,
    NotEnoughWeight,
    RouteNotFound,
    RouterError,
    RouterUnavailable,
)
from canary_judge.routers.waiting import wait_until
from canary_judge.routing import Residual, RollbackReport, WeightReading, check_percent, leftovers, same_weight

__all__ = ["HAProxyRouter", "Server"]

_LARGEST = 256
# Of `srv_admin_state`: maintenance, forced, inherited, or for its name; and with it drain, forced or inherited.
_MAINTAINED = 0x01 | 0x02 | 0x20 | 0x40
_IDLE = _MAINTAINED | 0x08 | 0x10


def _several(value: object) -> object:
    """One name, or a list of them, as a tuple."""
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


Servers = Annotated[tuple[str, ...], BeforeValidator(_several), Field(min_length=1)]


class _Options(StrictModel):
    address: str
    backend: str
    stable: Servers = ("stable",)
    canary: Servers = ("canary",)
    maintenance: bool = False
    timeout: float = Field(default=5.0, gt=0)


class Server(NamedTuple):
    """A server of the backend.

    Attributes:
        weight: As it is set.
        idle: It gets no new clients: in maintenance or draining.
        maintained: It is in maintenance, which also moves those that it had.
    """

    weight: int
    idle: bool
    maintained: bool


class HAProxyRouter:
    """Sets server weights over the runtime socket (`stats socket PATH level admin`).

    The servers that gain weight are written first: the other way round, 7 % of the requests failed for want of any
    server. What the socket sets is lost on a reload without a server-state-file.

    Args:
        address: Path of the socket, or HOST:PORT.
        backend: Name of the backend.
        stable: Name of the stable server, or of several.
        canary: Name of the canary's server, or of several.
        maintenance: On a rollback put the canary's servers into maintenance, which moves sticky clients, too;
            weight 0 and `drain` do not. A later weight above 0 takes them out of it.
        timeout: Seconds to wait for an answer.
    """

    def __init__(
        self,
        address: str,
        backend: str,
        *,
        stable: str | Sequence[str] = "stable",
        canary: str | Sequence[str] = "canary",
        maintenance: bool = False,
        timeout: float = 5.0,
    ) -> None:
        self._address, self._backend, self._timeout = address, backend, timeout
        self._stable = (stable,) if isinstance(stable, str) else tuple(stable)
        self._canary = (canary,) if isinstance(canary, str) else tuple(canary)
        self._maintenance = maintenance

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """From a config's `router:` section; keys as the arguments."""
        read = read_options(_Options, options)
        return cls(
            read.address,
            read.backend,
            stable=read.stable,
            canary=read.canary,
            maintenance=read.maintenance,
            timeout=read.timeout,
        )

    def _ask(self, command: str) -> str:
        try:
            with self._connect() as connection:
                connection.sendall(f"{command}\n".encode())
                parts = []
                while part := connection.recv(65536):
                    parts.append(part)
        except OSError as error:
            raise RouterUnavailable(f"haproxy at {self._address}: no answer: {error}") from error
        return b"".join(parts).decode(errors="replace").strip()

    def _connect(self) -> socket.socket:
        host, colon, port = self._address.rpartition(":")
        if colon and port.isdigit():
            return socket.create_connection((host, int(port)), timeout=self._timeout)
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(self._timeout)
        try:
            connection.connect(self._address)
        except OSError:
            connection.close()
            raise
        return connection

    def _stat(self) -> list[dict[str, str]]:
        """The rows of the backend in `show stat`."""
        text = self._ask("show stat").removeprefix("# ")
        return [row for row in csv.DictReader(io.StringIO(text)) if row.get("pxname") == self._backend]

    def _servers(self, needed: Sequence[str]) -> dict[str, Server]:
        """The servers but backups; these must be among them."""
        answer = self._ask(f"show servers state {self._backend}")
        lines = [line for line in answer.splitlines() if line]
        header = next((line[1:].split() for line in lines if line.startswith("#")), None)
        if header is None:
            if "find backend" in answer or "No such" in answer:
                raise RouteNotFound(f"haproxy at {self._address} has no backend {self._backend!r}")
            raise RouterError(f"haproxy at {self._address}: {answer[:200]!r}")
        rows = [dict(zip(header, line.split(), strict=False)) for line in lines if line[0].isdigit() and " " in line]
        found = {}
        for row in rows:
            state = int(row["srv_admin_state"])
            found[row["srv_name"]] = Server(int(row["srv_uweight"]), bool(state & _IDLE), bool(state & _MAINTAINED))
        spare = {row["svname"] for row in self._stat() if row.get("bck") == "1"}  # served by when nobody else is left
        found = {name: state for name, state in found.items() if name not in spare}
        for name in needed:
            if name not in found:
                raise DestinationNotFound(
                    f"backend {self._backend!r} has no server {name!r}; there are {', '.join(found) or 'none'}"
                )
        return found

    def _share(self, servers: Mapping[str, Server]) -> float:
        weights = {name: 0 if one.idle else one.weight for name, one in servers.items()}
        total = sum(weights.values())
        return 100 * sum(weights.get(name, 0) for name in self._canary) / total if total else 0.0

    def get_weight(self) -> WeightReading:
        """The canary's share of the weights of all servers in the backend."""
        percent = self._share(self._servers(self._canary[:1]))
        return WeightReading(percent=percent, per_route={self._backend: percent})

    def _wanted(self, percent: float, servers: Mapping[str, Server]) -> dict[str, int]:
        """The new weight of each server: whole numbers up to 256 whose shares are exact."""
        others = set(servers) - set(self._stable) - set(self._canary)
        if percent == 0 and (others or not {*self._stable, *self._canary} <= set(servers)):  # can always be written
            mine = [name for name in self._canary if name in servers]
            serving = any(one.weight and not one.idle for name, one in servers.items() if name not in mine)
            rest = {} if serving else dict.fromkeys((name for name in self._stable if name in servers), 100)
            return {**dict.fromkeys(mine, 0), **rest}
        if others:
            raise NotEnoughWeight(
                f"backend {self._backend!r} has other servers, {', '.join(sorted(others))}; count them to a side"
            )
        base = 100 if percent == round(percent) else 10_000
        canary = round(percent * base / 100)
        each = {
            "stable": (base - canary) * len(self._canary),
            "canary": canary * len(self._stable),
        }
        if max(each.values()) > _LARGEST:
            divisor = math.gcd(*each.values())
            each = {side: weight // divisor for side, weight in each.items()}
        if max(each.values()) > _LARGEST:
            raise NotEnoughWeight(
                f"{percent:g} % needs weights of {each['stable']} to {each['canary']}, HAProxy has at most {_LARGEST}; "
                "use a whole percent"
            )
        return {
            **dict.fromkeys(self._stable, each["stable"]),
            **dict.fromkeys(self._canary, each["canary"]),
        }

    def set_weight(self, percent: float, *, expect: float | None = None) -> bool:
        """Raise first, then lower, on one connection."""
        check_percent(percent)
        return self._set(percent, expect, maintenance=False)

    def _set(self, percent: float, expect: float | None, *, maintenance: bool) -> bool:
        servers = self._servers((*self._stable, *self._canary) if percent > 0 else self._canary[:1])
        now = self._share(servers)
        if expect is not None and not same_weight(now, expect):
            raise DriftDetected(f"haproxy: {now:g} % is in force, {expect:g} % was expected")
        new = self._wanted(percent, servers)
        changed = [name for name, weight in new.items() if servers[name].weight != weight]
        if same_weight(now, percent) and any(one.weight and not one.idle for one in servers.values()):
            changed = []  # other weights of the same share
        changed.sort(key=lambda name: servers[name].weight - new[name])
        # a server that comes out of maintenance does so with its new weight; one that goes into it goes last
        wake = [
            f"set server {self._backend}/{name} state ready"
            for name in self._canary
            if name in servers and servers[name].idle
        ]
        lower = [
            f"set server {self._backend}/{name} state maint"
            for name in self._canary
            if name in servers and not servers[name].maintained
        ]
        commands = [f"set server {self._backend}/{name} weight {new[name]}" for name in changed]
        if maintenance:
            commands += lower
        elif percent > 0:
            commands += wake
        if not commands:
            return False
        answer = self._ask("; ".join(commands))
        if answer:
            kind = DestinationNotFound if "No such server" in answer else RouterError
            raise kind(f"haproxy at {self._address}: {' '.join(answer.split())}")
        return True

    def rollback(self) -> RollbackReport:
        """Weight 0, or maintenance, and who stays all the same."""
        changed = self._set(0.0, None, maintenance=self._maintenance)
        return RollbackReport(changed=changed, residuals=() if self._maintenance else leftovers(self))

    def leftovers(self) -> tuple[Residual, ...]:
        """Cookies and stick tables that keep clients on the canary."""
        found = []
        for row in self._stat():
            if row.get("svname") in self._canary and row.get("cookie"):
                reason = "cookie keeps its clients at weight 0 and in drain; `maintenance: true` moves them"
                found.append(Residual(place=f"server {row['svname']}", reason=reason))
        for line in self._ask("show table").splitlines():
            if line.startswith(f"# table: {self._backend},") and "used:0" not in line.replace(" ", ""):
                reason = "keeps clients on canary at weight 0"
                found.append(Residual(place=f"stick table {self._backend}", reason=reason))
        return tuple(found)

    def verify(self, percent: float, *, timeout: float = 10.0) -> bool:
        """The socket answers with what is in force."""
        return wait_until(lambda: same_weight(self.get_weight().percent, percent), timeout)
