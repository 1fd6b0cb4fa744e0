"""A rollout on real parts, timed: `python -m benchmarks.closed_loop [FILE]`.

Two versions of an app behind a real proxy, a real Prometheus, steady load, and `canary-judge rollout`. Prints one row per
scenario, and writes the table into FILE.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tests.closed_loop import Loop, closed_loop

HEAD = (
    "| proxy | version 2 | end | seconds to the end | fault to weight 0, s | looks since the fault | requests | failed |",
    "|---|---|---|---|---|---|---|---|",
)


@dataclass(frozen=True)
class Row:
    """What one scenario gave."""

    kind: str
    what: str
    exit_code: int | None
    seconds: float
    to_zero: float | None
    looks: int | None
    requests: int
    failed: int

    def __str__(self) -> str:
        end = {0: "promoted", 2: "rolled back", 3: "held"}.get(self.exit_code or 0, f"exit {self.exit_code}")
        fall = "-" if self.to_zero is None else f"{self.to_zero:.0f}"
        looks = "-" if self.looks is None else f"{self.looks}"
        return (
            f"| {self.kind} | {self.what} | {end} | {self.seconds:.0f} | {fall} | {looks} | {self.requests:,} "
            f"| {self.failed} |"
        )


def at_weight(percent: float) -> object:
    return lambda records: any(record["state"]["weight"] == percent for record in records)


def moment(record: dict[str, str]) -> float:
    return datetime.fromisoformat(record["at"]).timestamp()


def scenario(loop: Loop, kind: str, what: str, faults: dict[str, float], *, after: float = 15.0) -> Row:
    """Drive one rollout; the fault begins so long after the canary has its first traffic."""
    begun = time.time()
    process = loop.start()
    since = None
    if faults:
        loop.wait(process, 60, until=at_weight(5))
        time.sleep(after)
        since = loop.fault(**faults)
    code = loop.wait(process, 400)
    ended = time.time()
    failed, requests = loop.failed_requests()
    to_zero = looks = None
    if since is not None:
        records = loop.journal()
        # the router has read back 0 when the driver goes on to watch what is left
        to_zero = next((moment(one) - since for one in records if one["what"] == "rolling_back"), None)
        looks = sum(one["what"] == "look" and moment(one) > since for one in records) + 1
    return Row(kind, what, code, ended - begun, to_zero, looks, requests, failed)


SCENARIOS: tuple[tuple[str, str, dict[str, float]], ...] = (
    ("envoy", "healthy", {}),
    ("envoy", "5x errors", {"errors": 0.1}),
    ("envoy", "1.5x latency", {"slower": 1.5}),
    ("haproxy", "5x errors", {"errors": 0.1}),
    ("haproxy", "1.5x latency", {"slower": 1.5}),
    ("nginx", "5x errors", {"errors": 0.1}),
    ("nginx", "1.5x latency", {"slower": 1.5}),
)


def main() -> None:
    lines = list(HEAD)
    print("\n".join(lines), flush=True)
    for kind, what, faults in SCENARIOS:
        with tempfile.TemporaryDirectory() as folder, closed_loop(folder, kind) as loop:
            lines.append(str(scenario(loop, kind, what, faults)))
            print(lines[-1], flush=True)
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
