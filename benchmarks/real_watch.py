"""A watch of 10,800 looks, one a second, against a real Prometheus filled beforehand, with a simulated clock.

`python -m benchmarks.real_watch [looks] [plot.svg]` tells CPU of a look (fetch, judgement, log) over the run and the size
of the log, and draws both.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from canary_judge import JudgeConfig, Monitor
from canary_judge.looks.log import StateLog
from canary_judge.sources import PrometheusSource
from tests.real_prometheus import Sample, find_binaries, running

START, SECOND = datetime(2026, 1, 1, tzinfo=UTC), timedelta(seconds=1)
PARTS = 12


def config() -> JudgeConfig:
    """Errors, slow requests, and memory."""
    sides = {"baseline": {"version": "1"}, "canary": {"version": "2"}}
    of = 'http_requests_total{version="${version}"'
    metrics = [
        {"name": "errors", "kind": "ratio", "events": f'{of},code="500"}}', "total": f"{of}}}", "margin": "1.5x"},
        {
            "name": "slow",
            "kind": "latency",
            "histogram": 'http_seconds_bucket{version="${version}"}',
            "slower_than": "250ms",
            "margin": "+1pp",
        },
        {"name": "heap", "kind": "gauge", "query": 'heap{version="${version}"}', "margin": "10%"},
    ]
    return JudgeConfig.from_mapping(
        {"name": "shop", "interval": "1s", **sides, "metrics": [{"harm": "increase", **one} for one in metrics]}
    )


def samples(looks: int) -> Iterator[Sample]:
    """Scraped every second, half a second before the end of each interval."""
    rng = np.random.default_rng(1)
    times = START.timestamp() - 0.5 + np.arange(-4, looks + 2)
    for version, rate in (("1", 95), ("2", 5)):
        pod = {"version": version, "instance": f"pod{version}"}
        counts = {
            code: rng.poisson(rate * share, times.size).cumsum() for code, share in (("200", 0.995), ("500", 0.005))
        }
        for code, values in counts.items():
            yield "http_requests_total", {**pod, "code": code}, zip(times, values, strict=True)
        fast, slow = (rng.poisson(rate * share, times.size).cumsum() for share in (0.95, 0.05))
        for bound, values in (("0.25", fast), ("+Inf", fast + slow)):
            yield "http_seconds_bucket", {**pod, "le": bound}, zip(times, values, strict=True)
        yield "heap", pod, zip(times, rng.normal(100, 5, times.size).round(3), strict=True)


def watched(looks: int) -> tuple[list[float], list[float], list[int]]:
    """Of each look: CPU seconds in all, of the judgement and the log alone, and the size of the log after it."""
    settings, costs, own, sizes = config(), [], [], []
    with tempfile.TemporaryDirectory() as folder, running(find_binaries(), samples(looks)) as url:
        path, source = Path(folder) / "state", PrometheusSource(url)
        monitor = Monitor(settings, start=START)
        real, fetched = source.fetch, [0.0]

        def fetch(*args: object) -> object:
            begun = time.process_time()
            found = real(*args)
            fetched[0] += time.process_time() - begun
            return found

        source.fetch = fetch
        with StateLog(settings, path) as log:
            for number in range(1, looks + 1):
                begun, fetched[0] = time.process_time(), 0.0
                monitor.look(source, START + number * SECOND)
                log.keep(monitor.evidence)
                costs.append(time.process_time() - begun)
                own.append(costs[-1] - fetched[0])
                sizes.append(path.stat().st_size)
        kept = monitor.state()
        with StateLog(settings, path) as log:
            assert Monitor(settings, state=log.state).state() == kept
    return costs, own, sizes


def drawn(own: list[float], sizes: list[int]) -> str:
    """Both as a picture: a point for each look, and the line of the log."""
    width, height, left, low = 900, 360, 60, 40
    top = 1e3 * float(np.quantile(own, 0.999)) * 1.1

    def x(look: int) -> float:
        return left + (width - 2 * left) * look / len(own)

    def y(share: float) -> float:
        return height - low - (height - 2 * low) * min(share, 1.0)

    points = "".join(f'<circle cx="{x(k):.1f}" cy="{y(1e3 * one / top):.1f}" r="1"/>' for k, one in enumerate(own))
    line = " ".join(f"{x(k):.1f},{y(one / sizes[-1]):.1f}" for k, one in enumerate(sizes) if k % 20 == 0)
    labels = "".join(
        f'<text x="{at_x}" y="{at_y}" text-anchor="{anchor}">{text}</text>'
        for at_x, at_y, anchor, text in (
            (left, height - 15, "middle", "0"),
            (width - left, height - 15, "middle", f"{len(own):,} looks"),
            (left - 5, y(1), "end", f"{top:.0f} ms"),
            (left - 5, y(0), "end", "0"),
            (width - left + 5, y(1), "start", f"{sizes[-1] / 1e6:.1f} MB"),
            (width / 2, 20, "middle", "CPU of a look without its fetch (points, left), size of the log (line, right)"),
        )
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">'
        f'<rect width="100%" height="100%" fill="white"/><g fill="#4477aa" fill-opacity="0.5">{points}</g>'
        f'<polyline points="{line}" fill="none" stroke="#cc6677" stroke-width="2"/>{labels}</svg>'
    )


def main(looks: int, picture: Path | None) -> None:
    """A table, and the picture where it is wanted."""
    costs, own, sizes = watched(looks)
    print("| looks | CPU ms of a look, median | without the fetch: median | 99 % | worst | log MB |")
    print("|---|---|---|---|---|---|")
    for part in np.array_split(np.arange(looks), PARTS):
        mine, alone = 1e3 * np.array(costs)[part], 1e3 * np.array(own)[part]
        print(
            f"| {part[0] + 1:,}-{part[-1] + 1:,} | {np.median(mine):.1f} | {np.median(alone):.1f} | "
            f"{np.quantile(alone, 0.99):.0f} | {alone.max():.0f} | {sizes[part[-1]] / 1e6:.2f} |"
        )
    print(f"\n{sum(costs):.0f} s of CPU in all, {sum(own):.0f} s of it without the fetches")
    if picture is not None:
        picture.write_text(drawn(own, sizes))


if __name__ == "__main__":
    arguments = sys.argv[1:]
    main(int(arguments[0]) if arguments else 10_800, Path(arguments[1]) if len(arguments) > 1 else None)
