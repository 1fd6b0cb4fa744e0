"""The real thing: two versions of an app, a Prometheus scraping them every second, traffic split 95/5."""

from __future__ import annotations

import http.client
import json
import random
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from canary_judge import JudgeConfig, Window, judge
from canary_judge.__main__ import main
from canary_judge.looks.log import read_log
from canary_judge.results import Outcome, Verdict
from canary_judge.samples import collect
from canary_judge.sources import PrometheusSource
from tests import proxies
from tests.real_prometheus import running

pytestmark = [pytest.mark.slow, pytest.mark.real, pytest.mark.timeout(240)]

CONFIG = JudgeConfig.parse(
    """
    name: live shop
    interval: 3s
    baseline: {version: v1}
    canary: {version: v2}
    metrics:
      - name: errors
        kind: ratio
        events: http_requests_total{version="${version}",code=~"5.."}
        total: http_requests_total{version="${version}"}
        harm: increase
        margin: 1.5x or +1pp
        business: true
      - name: slow requests
        kind: latency
        histogram: http_request_duration_seconds_bucket{version="${version}"}
        slower_than: 50ms
        margin: 1.5x or +5pp
      - name: memory
        kind: gauge
        query: process_resident_memory_bytes{version="${version}"}
        harm: increase
        margin: 20%
        role: watch
    """
)


def app(stack, error_rate, median, seed):
    (port,) = proxies.free_ports(1)
    command = [sys.executable, "-m", "tests.live_app", str(port), str(error_rate), str(median), str(seed)]
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    stack.enter_context(proxies.started(command, [port], folder, cwd=Path.cwd()))
    return port


def traffic(ports, stop, seed, sent):
    """About 20 requests a second on one connection to each version, 5 % of them to the canary."""
    rng = random.Random(seed)
    connections = {side: http.client.HTTPConnection("127.0.0.1", port, timeout=5) for side, port in ports.items()}
    while not stop.is_set():
        side = "canary" if rng.random() < 0.05 else "baseline"
        connections[side].request("GET", "/")
        response = connections[side].getresponse()
        response.read()
        sent.append((side, response.status))
        stop.wait(rng.expovariate(20))
    for connection in connections.values():
        connection.close()


def scrape_config(ports):
    jobs = "".join(
        f"  - targets: ['127.0.0.1:{port}']\n    labels: {{version: {version}}}\n"
        for version, port in zip(("v1", "v2"), ports.values(), strict=True)
    )
    return (
        "global: {scrape_interval: 1s, scrape_timeout: 900ms}\n"
        f"scrape_configs:\n- job_name: shop\n  static_configs:\n{jobs}"
    )


def run(binaries, canary_error_rate, seconds):
    with ExitStack() as stack:
        ports = {"baseline": app(stack, 0.02, 0.01, 1), "canary": app(stack, canary_error_rate, 0.01, 2)}
        url = stack.enter_context(running(binaries, config=scrape_config(ports)))
        time.sleep(8)  # Prometheus waits about 5 s before its first scrape
        stop, sent = threading.Event(), []
        threads = [threading.Thread(target=traffic, args=(ports, stop, seed, sent)) for seed in range(8)]
        stack.callback(lambda: [thread.join() for thread in threads])
        stack.callback(stop.set)
        begin = datetime.now(UTC)
        for thread in threads:
            thread.start()
        time.sleep(seconds)
        stop.set()
        for thread in threads:
            thread.join()
        # the window ends on the grid: its last whole interval must hold a scrape of everything that was sent
        quiet = datetime.now(UTC)
        window = Window(begin - timedelta(seconds=3), quiet + timedelta(seconds=3) + CONFIG.interval)
        time.sleep(3 + CONFIG.interval.total_seconds() + 1)
        source, grid = PrometheusSource(url), window.aligned(CONFIG.interval)
        queries = list(CONFIG.queries())
        counted = collect(CONFIG, grid, zip(queries, source.fetch(queries, grid), strict=True))
        return judge(CONFIG, source, window), sent, counted


def test_a_canary_with_more_errors_is_rolled_back_and_the_counts_are_exact(prometheus_binaries):
    judgement, sent, counted = run(prometheus_binaries, 0.30, 45)
    print(judgement.explain())
    assert judgement.verdict is Verdict.FAIL
    counts = counted.metrics["errors"].data.counts
    canary = [status for side, status in sent if side == "canary"]
    # traffic stopped before the last scrape, so every request that was answered must have been counted
    assert counts.exposure_canary.sum() == len(canary)
    assert counts.events_canary.sum() == canary.count(500)
    # compared are the intervals in which both sides had requests
    both = (counts.exposure_canary > 0) & (counts.exposure_baseline > 0)
    assert judgement["errors"].comparison.n_canary == counts.exposure_canary[both].sum()
    assert judgement["errors"].quality.canary_share == pytest.approx(0.05, abs=0.02)


def test_a_healthy_canary_is_not_rolled_back(prometheus_binaries):
    judgement, _, _ = run(prometheus_binaries, 0.02, 45)
    print(judgement.explain())
    assert judgement.verdict is not Verdict.FAIL
    assert judgement["errors"].outcome in {Outcome.INSUFFICIENT, Outcome.SAFE, Outcome.INCONCLUSIVE}


def test_the_watch_sees_a_regression_live_and_a_restarted_one_goes_on(prometheus_binaries, tmp_path, capsys):
    """`watch --once` as cron would call it, then the live watch from the same state, and the plan from the baseline."""
    config = tmp_path / "live.json"
    plain = CONFIG.model_dump(mode="json", exclude={"sources", "preset"}, exclude_defaults=True, by_alias=True)
    config.write_text(json.dumps(plain))
    state = tmp_path / "shop.state"
    with ExitStack() as stack:
        ports = {"baseline": app(stack, 0.02, 0.01, 1), "canary": app(stack, 0.30, 0.01, 2)}
        url = stack.enter_context(running(prometheus_binaries, config=scrape_config(ports)))
        stop, sent = threading.Event(), []
        threads = [threading.Thread(target=traffic, args=(ports, stop, seed, sent)) for seed in range(8)]
        stack.callback(lambda: [thread.join() for thread in threads])
        stack.callback(stop.set)
        for thread in threads:
            thread.start()
        time.sleep(18)  # Prometheus waits about 5 s before its first scrape, and preflight leaves the newest out
        common = ["watch", str(config), "--source", url, "--horizon", "3m", "--state", str(state), "--weight", "5"]
        assert main([*common, "--once"]) == 4
        first = read_log(state).looks
        time.sleep(7)
        assert main([*common, "--once"]) in {2, 4}
        assert read_log(state).looks > first
        capsys.readouterr()
        assert main([*common, "--every", "3s"]) == 2
        shown = capsys.readouterr().out
        assert "harm beyond margin" in shown
        assert "harm beyond the margin is shown" in shown
        assert main(["plan", str(config), "--source", url, "--last", "30s"]) in {0, 4}
        assert "Bottleneck" in capsys.readouterr().out
