"""Two DataFrames judged against each other, without a config file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from canary_judge.config import JudgeConfig
from canary_judge.errors import DataError
from canary_judge.judging import judge
from canary_judge.results import Judgement
from canary_judge.series import format_duration
from canary_judge.sources.frames import FrameSource

if TYPE_CHECKING:
    import pandas as pd

    from canary_judge.sources.tables import Align

__all__ = ["compare"]


def compare(
    *,
    baseline: pd.DataFrame,
    canary: pd.DataFrame,
    metrics: Sequence[Mapping[str, Any]],
    interval: str | None = None,
    align: Align = "time",
    **settings: Any,
) -> Judgement:
    """Judge two DataFrames, one per side, without a config file.

    Args:
        baseline: A table as `FrameSource` reads it, without the column `side`.
        canary: The same for the canary.
        metrics: A list, each as in a config.
        interval: Length of one interval; the usual spacing of the rows when left out.
        align: "start" compares two periods.
        settings: Any other key of a config, such as `false_alarm_rate`.

    Raises:
        DataError: A table is malformed, or none.
        ConfigError: A metric or another key is wrong.

    Examples:
        >>> import numpy as np
        >>> import pandas as pd
        >>> times = pd.date_range("2026-01-01", periods=60, freq="1min", tz="UTC")
        >>> rng = np.random.default_rng(1)
        >>> before, after = (pd.DataFrame({"timestamp": times, "heap": rng.normal(100, 5, 60)}) for _ in range(2))
        >>> gauge = {"name": "heap", "kind": "gauge", "query": "heap", "harm": "increase", "margin": "10%"}
        >>> compare(baseline=before, canary=after, metrics=[gauge]).verdict
        <Verdict.PASS: 'pass'>
    """
    import pandas as pd  # who passes frames has imported it

    for side, frame in (("baseline", baseline), ("canary", canary)):
        if not isinstance(frame, pd.DataFrame):
            raise DataError(f"{side} is {type(frame).__name__}; give a DataFrame with the rows of the {side}")
        if "side" in frame.columns and (other := frame["side"][frame["side"] != side]).size:
            raise DataError(f"{side}: its column 'side' has {other.iloc[0]!r}; give the rows of the {side} alone")
    table = pd.concat([baseline.assign(side="baseline"), canary.assign(side="canary")], ignore_index=True)
    source = FrameSource(table, align=align)
    if isinstance(metrics, Mapping | str) or not isinstance(metrics, Sequence):
        raise DataError(f"metrics is {type(metrics).__name__}; give a list of metrics, each as in a config")
    for one in metrics:
        if not isinstance(one, Mapping):
            raise DataError(
                f"metrics has {one!r}; give each as in a config, as "
                "{'name': 'heap', 'kind': 'gauge', 'query': 'heap', 'harm': 'increase', 'margin': '10%'}"
            )
    data = {
        "name": "comparison",
        **settings,
        "interval": interval or format_duration(source.usual_spacing()),
        "metrics": [dict(metric) for metric in metrics],
    }
    config = JudgeConfig.from_mapping(data, name="compare")
    return judge(config, source, source.window(config.interval))
