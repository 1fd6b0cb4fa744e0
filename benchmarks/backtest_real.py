"""Ours, Kayenta's and two limits on past canaries that were real: `python -m benchmarks.backtest_real [FOLDER] [EVERY]`.

FOLDER as for `benchmarks.real_data`; each EVERY-th pair of a kind is taken (default: all). The healthy ones are requests
split at random (nothing differs), the bad ones have a fault that was injected, by us or by the authors of the data. The
pairs are archived, labelled and read again. No fixed limit fits 122 services; each gets the one that an operator
who knows the service would set, a quarter above its baseline's mean over just this time: the limit's best case.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.real_data import HERE, config_of, pairs, source_of
from canary_judge import JudgeConfig
from canary_judge.errors import CanaryJudgeError
from canary_judge.history import Backtest, History, KayentaJudge, Label, Limit, LimitRule, OurJudge, backtest
from canary_judge.results import Side
from canary_judge.samples.levels import levels

ABOVE = 1.25
LOOK = 10  # intervals between two looks


def kind_of(pair: pd.Series) -> str | None:
    if pair.label == "A/A" and pair.fairness == "fair":
        return "healthy"
    bad = pair.effect_kind == "injected" or pair.fairness == "real_fault"
    return "bad" if bad and pair.effect_on_this_metric else None


def archived(number: int, name: str, pair: pd.Series, points: pd.DataFrame) -> tuple[JudgeConfig, History]:
    config, history = config_of(pair), History(f"memory://real/{number}")
    config = config.model_copy(update={"name": str(pair.series)})  # the service
    kind = kind_of(pair)
    assert kind in ("healthy", "bad")
    source = source_of(pair, points)
    window, step = source.window(config.interval), config.interval
    history.add(
        source,
        config,
        every=LOOK * step,
        horizon=window.duration,
        ended_by="the planned end",
        label=Label(kind=kind, by=f"the data, {name}"),
    )
    return config, history


def judged(config: JudgeConfig, history: History) -> Backtest:
    canary = next(iter(history))
    data = canary.tape.last.streams["m"].data
    assert data is not None
    limit = (Limit("m", most=ABOVE * float(np.nanmean(levels(data, Side.BASELINE)))),)
    every = LOOK * config.interval
    judges = [
        OurJudge(config=config),
        KayentaJudge(),
        KayentaJudge(every=every, name="Kayenta at each look"),
        LimitRule(limits=limit, every=every, name="limit at each look"),
        LimitRule(limits=limit, every=every, failures=3, name="limit at each look, 3 failures"),
    ]
    return backtest(judges, history)


def main(folder: Path = HERE, every: int = 1) -> None:
    table, series = pairs(folder)
    table = table[[kind_of(pair) is not None for _, pair in table.iterrows()]]
    chosen = [ids for _, group in table.groupby(["label", "dataset", "kind"]) for ids in group.index[::every]]
    found, unread, effects = [], Counter[str](), {}
    for number, name in enumerate(chosen):
        try:
            one = judged(*archived(number, name, table.loc[name], series[name]))
        except CanaryJudgeError as problem:
            unread[str(problem)[:160]] += 1
            continue
        found.append(one)
        pair = table.loc[name]
        effect = pair.effect if pair.effect_kind == "injected" else pair.fairness
        effects.update({id(case): effect for case in one.cases})
    cases = sorted((case for one in found for case in one.cases), key=lambda case: (case.start, case.id))
    skipped = tuple(case for one in found for case in one.skipped)
    print(f"{len(chosen)} pairs; not read: {dict(unread)}\n")
    print(Backtest(judges=found[0].judges, cases=tuple(cases), skipped=skipped).explain())
    print(
        "\n| what differs | canaries | "
        + " | ".join(found[0].judges)
        + " |\n| --- |"
        + " ---: |" * (1 + len(found[0].judges))
    )
    for effect in dict.fromkeys(sorted(effects.values())):
        alike = [case for case in cases if effects[id(case)] == effect]
        told = [Counter(case.decisions[n].verdict.value for case in alike) for n in range(len(found[0].judges))]
        cells = [f"{one['fail']} fail, {one['pass']} pass" for one in told]
        print(f"| {effect} | {len(alike)} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    given = sys.argv[1:]
    main(*([Path(given[0])] if given else []), *([int(given[1])] if len(given) > 1 else []))
