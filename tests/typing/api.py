"""Never run: the public API used as a user would, for the type checker."""

from datetime import UTC, datetime

import pandas as pd

from canary_judge import Action, JudgeConfig, Judgement, Outcome, Verdict, Window, compare, judge
from canary_judge.series import MetricSource
from canary_judge.sources import FrameSource, PrometheusSource


def decide(path: str, table: pd.DataFrame) -> Action:
    config: JudgeConfig = JudgeConfig.load(path).with_sides(canary={"version": "2"})
    source: MetricSource = PrometheusSource("http://localhost:9090", timeout=5.0)
    frame: MetricSource = FrameSource(table)
    window = Window(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC))
    judgement: Judgement = judge(config, {"default": source, "warehouse": frame}, window)
    verdict: Verdict = judgement.verdict
    outcome: Outcome = judgement["errors"].outcome
    text: str = judgement.explain(color=True) + judgement.to_json(indent=2) + verdict + outcome
    page: str = judgement.to_html(whole_page=True) + str(judgement.plot("errors", theme="dark"))
    again: Judgement = Judgement.from_json(text + page)
    rows: pd.DataFrame = again.to_frame()
    other: Judgement = compare(baseline=rows, canary=rows, metrics=[{"name": "x"}], align="start")
    return other.action
