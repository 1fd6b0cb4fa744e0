"""What a fetch from a real Prometheus costs us, beside what it costs the server: `python -m benchmarks.fetching`.

200 metrics (100 ratios of bare counters, 100 gauges) over 6 hours at 15 seconds, then looks at one new interval each.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from canary_judge import JudgeConfig, Window
from canary_judge.sources import PrometheusSource
from tests.real_prometheus import Sample, find_binaries, running

START, STEP = datetime(2026, 1, 1, tzinfo=UTC), 15
POINTS = 6 * 3600 // STEP
RATIOS, GAUGES = 100, 100


def config() -> JudgeConfig:
    """All of them."""
    sides = {"baseline": {"version": "1"}, "canary": {"version": "2"}}
    ratios = [
        {
            "name": f"errors{k}",
            "kind": "ratio",
            "events": f'http_requests_total{{app="{k}",version="${{version}}",code="500"}}',
            "total": f'http_requests_total{{app="{k}",version="${{version}}"}}',
            "harm": "increase",
            "margin": "1.5x",
        }
        for k in range(RATIOS)
    ]
    gauges = [
        {
            "name": f"heap{k}",
            "kind": "gauge",
            "query": f'heap{{app="{k}",version="${{version}}"}}',
            "harm": "increase",
            "margin": "10%",
        }
        for k in range(GAUGES)
    ]
    return JudgeConfig.from_mapping({"name": "shop", "interval": f"{STEP}s", **sides, "metrics": ratios + gauges})


def samples() -> Iterator[Sample]:
    """Counters from before the start on, and gauges."""
    rng = np.random.default_rng(1)
    times = START.timestamp() + STEP * np.arange(-4, POINTS + 60)
    for k in range(RATIOS):
        for version, rate in (("1", 950), ("2", 50)):
            for code, share in (("200", 0.995), ("500", 0.005)):
                labels = {"app": str(k), "version": version, "code": code, "instance": f"pod{version}"}
                yield (
                    "http_requests_total",
                    labels,
                    zip(times, rng.poisson(rate * share, times.size).cumsum(), strict=True),
                )
    for k in range(GAUGES):
        for version in ("1", "2"):
            labels = {"app": str(k), "version": version, "instance": f"pod{version}"}
            yield "heap", labels, zip(times, rng.normal(100, 5, times.size).round(3), strict=True)


def server_cpu(process: subprocess.Popen[bytes]) -> float:
    """CPU seconds of the server so far."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Three whole windows, then forty looks."""
    settings, processes = config(), []
    with running(find_binaries(), samples(), processes=processes) as url:
        source, queries = PrometheusSource(url), list(settings.queries())
        whole = Window(START, START + POINTS * timedelta(seconds=STEP))
        source.fetch(queries[:1], whole)
        for what, windows in (
            ("whole window", [whole] * 3),
            (
                "one look",
                [Window(whole.end + k * settings.interval, whole.end + (k + 1) * settings.interval) for k in range(40)],
            ),
        ):
            ours, theirs, begun = time.process_time(), server_cpu(processes[0]), time.monotonic()
            for window in windows:
                answers = source.fetch(queries, window)
                assert not [one.error for one in answers if one.error]
            ours, theirs = time.process_time() - ours, server_cpu(processes[0]) - theirs
            each = len(windows)
            print(
                f"{what}: ours {ours / each:.2f} s of CPU, the server's {theirs / each:.2f} s, ratio {ours / theirs:.2f}; "
                f"{(time.monotonic() - begun) / each:.2f} s in all; {len(queries)} queries"
            )


if __name__ == "__main__":
    main()
