"""Judgements recorded once and replayed: does a change of the code change what is judged?

    python -m benchmarks.replay record                       rewrite tests/data/replay.jsonl.xz, on purpose
    python -m benchmarks.replay commits OLD NEW [--new f,g]  both commits on this machine, compared to the byte
    python -m benchmarks.replay diff FILE FILE               two recordings, compared to the byte

`--new` names fields that only the newer version has; they are dropped there, and any other difference is one. The fast
test (tests/test_replay.py) holds the working tree against the recording: texts, outcomes and counts exactly, other
numbers to 1e-9, because their last digits depend on the processor and on the versions of numpy and scipy.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import lzma
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parents[1]))  # behind PYTHONPATH, whose canary_judge may be of another commit

import numpy as np

from benchmarks import real_data
from benchmarks.replay_cases import START, STEP, Case, drawn_cases
from canary_judge import Controller, JudgeConfig, Monitor, RolloutPlan, Window, advise, judge, plan
from canary_judge.errors import CanaryJudgeError
from canary_judge.series import Form
from canary_judge.testing import simulated_world

RECORDING = Path(__file__).parents[1] / "tests" / "data" / "replay.jsonl.xz"
# Of the version of the library and of the config's fields, not of what is judged.
UNSTABLE = frozenset({"version", "config_hash"})
PAIRS = 40
Record = dict[str, Any]


# --- what is recorded --------------------------------------------------------------------------------------------


def of_case(case: Case) -> Record:
    """The judgement of a case with all that a user sees of it; or the error it ends in."""
    config = JudgeConfig.from_mapping(case.config)
    window = Window(START, START + case.intervals * STEP)
    record: Record = {"case": case.name, "counts": counts_of(case), "advice": [str(one) for one in advise(config)]}
    if case.looks > 1:
        return {**record, "looks": list(looks(case, config, window))}
    judgement = judge(config, case, window)
    return {
        **record,
        "judgement": json.loads(judgement.to_json()),
        "text": judgement.explain(),
        "html": digest(judgement._repr_html_()),
        "plan": plan(config, case, window).explain(),
    }


def counts_of(case: Case) -> str:
    """A digest of the counts that were drawn: numpy 2.5 draws a binomial otherwise now and then."""
    counted = [
        one.values.round().astype(np.int64).tobytes().hex()
        for _, result in sorted(case.answers.items())
        if result.form in (Form.COUNTER, Form.COUNTS)
        for one in result.series
        if np.isfinite(one.values).all()
    ]
    return digest("".join(counted))


def looks(case: Case, config: JudgeConfig, window: Window) -> Iterator[Record]:
    """Every look of a monitor; the last one whole, of the others what decides."""
    monitor = Monitor(config, start=window.start, horizon=window.duration if case.planned else None)
    weights = dict(case.weights)
    weight = None
    for number in range(case.looks):
        weight = weights.get(number, weight)
        moment = window.start + (number + 1) * window.duration / case.looks
        judgement = monitor.look(case, moment, weight=weight)
        if case.restart:
            monitor = Monitor(config, state=monitor.state())
        plain = json.loads(judgement.to_json())
        if number == case.looks - 1:
            yield {"judgement": plain, "text": judgement.explain()}
        else:
            kept = ("name", "outcome", "reason", "p_worse", "p_beyond", "p_within", "shortfall", "warnings", "quality")
            metrics = [{key: metric[key] for key in kept} for metric in plain["metrics"]]
            yield {
                "verdict": plain["verdict"],
                "reasons": plain["reasons"],
                "metrics": metrics,
                "look": plain["look"],
                "traffic": plain["traffic"],
            }


def of_pair(name: str) -> Record:
    """A pair of real series, judged once."""
    table, points = real_data.pairs(real_data.HERE)
    pair = table.loc[name]
    config, source = real_data.config_of(pair), real_data.source_of(pair, points[name])
    judgement = judge(config, source, source.window(config.interval))
    return {"case": name, "judgement": json.loads(judgement.to_json()), "text": judgement.explain()}


ROLLOUTS: tuple[dict[str, Any], ...] = (
    {"world": {}, "plan": {"stages": [5, 25, 100], "minimum": "2m"}},
    {"world": {"canary_error_rate": 0.05}, "plan": {}},
    {"world": {"canary_error_rate": 0.008, "requests_per_second": 2000.0}, "plan": {"maximum": "20m"}},
    {"world": {"requests_per_second": 0.0}, "plan": {"patience": "3m"}},
    {"world": {"requests_per_second": 5.0}, "plan": {"needs": "no_harm", "maximum": "30m", "at_deadline": "roll_back"}},
    {"world": {"canary_error_rate": 0.05, "sticky": 0.4}, "plan": {"stages": [10, 100]}},
)


def of_rollout(number: int) -> Record:
    """What a rollout in the simulated world tells, event by event."""
    world = simulated_world(seed=number, **ROLLOUTS[number]["world"])
    told: list[list[Any]] = []
    controller = Controller(
        world.config, world.source, world.router, RolloutPlan.from_mapping(ROLLOUTS[number]["plan"]), clock=world.clock
    )
    for event in controller.events():
        told.append([event.kind.value, event.weight, event.text])
        if world.clock.seconds > 7200:
            controller.abort("long enough")
    return {"case": f"rollout-{number}", "events": told, "phase": controller.result().phase.value}


def real_pairs() -> list[str]:
    """Every so many of all pairs, so that each class is there."""
    names = list(real_data.pairs(real_data.HERE)[0].index)
    return names[:: max(len(names) // PAIRS, 1)][:PAIRS]


def replay() -> Iterator[Record]:
    """The records of all cases, in order."""
    for case in drawn_cases():
        yield guarded(case.name, lambda case=case: of_case(case))  # type: ignore[misc]
    for name in real_pairs():
        yield guarded(name, lambda name=name: of_pair(name))  # type: ignore[misc]
    for number in range(len(ROLLOUTS)):
        yield guarded(f"rollout-{number}", lambda number=number: of_rollout(number))  # type: ignore[misc]


def guarded(name: str, made: Any) -> Record:
    """A refused case is recorded with its message."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            record: Record = made()
        except CanaryJudgeError as error:
            return {"case": name, "error": f"{type(error).__name__}: {error}"}
    return record


def digest(text: str) -> str:
    """For what is too long to keep."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


# --- files and differences ---------------------------------------------------------------------------------------


def written(records: Iterable[Record]) -> bytes:
    """One record a line."""
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()


def recorded(path: Path = RECORDING) -> list[Record]:
    """The records of a file."""
    return [json.loads(line) for line in lzma.decompress(path.read_bytes()).decode().splitlines()]


def without(value: Any, names: frozenset[str]) -> Any:
    """A copy without the fields of these names, wherever they stand."""
    if isinstance(value, dict):
        return {key: without(inner, names) for key, inner in value.items() if key not in names}
    return [without(inner, names) for inner in value] if isinstance(value, list) else value


def differences(
    old: Any, new: Any, *, relative: float = 0.0, loose: Mapping[str, float] = MappingProxyType({}), place: str = ""
) -> Iterator[str]:
    """Where two records differ; numbers that are not whole may, by this relative amount, or that of their field."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            if key not in old or key not in new:
                yield f"{place}.{key}: only in the {'old' if key in old else 'new'} one"
            else:
                allowed = loose.get(key, relative)
                yield from differences(old[key], new[key], relative=allowed, loose=loose, place=f"{place}.{key}")
        if old.keys() == new.keys() and list(old) != list(new):
            yield f"{place}: its fields stand in another order"
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from differences(one, other, relative=relative, loose=loose, place=f"{place}[{index}]")
    elif isinstance(old, float) and isinstance(new, float) and abs(old - new) <= relative * max(abs(old), abs(new)):
        return
    elif old != new or type(old) is not type(new):
        yield f"{place}: {old!r} -> {new!r}"


def compared(old: Sequence[Record], new: Sequence[Record], names: frozenset[str]) -> int:
    """Print what differs, and count the records that do."""
    before = {record["case"]: without(record, UNSTABLE) for record in old}
    after = {record["case"]: without(without(record, UNSTABLE), names) for record in new}
    changed = 0
    for name in dict.fromkeys([*before, *after]):
        found = list(differences(before.get(name), after.get(name)))
        changed += bool(found)
        for line in found[:6]:
            print(f"{name}{line}")
        if len(found) > 6:
            print(f"{name}: ... {len(found)} differences in all")
    print(f"{len(before)} and {len(after)} records, {changed} differ")
    return changed


def of_commit(revision: str, folder: Path) -> list[Record]:
    """The records as this file draws them and that commit judges them."""
    tree, library, target = folder / revision, folder / f"{revision}-library", folder / f"{revision}.xz"
    root = Path(__file__).parents[1]
    subprocess.run(["git", "-C", root, "worktree", "add", "--detach", "-q", tree, revision], check=True)
    try:
        # its package alone, not its benchmarks: the cases are those of this file
        library.mkdir()
        (library / "canary_judge").symlink_to(tree / "canary_judge")
        here = {**os.environ, "PYTHONPATH": str(library)}
        subprocess.run([sys.executable, Path(__file__), "record", "--to", target], check=True, env=here, cwd=library)
    finally:
        subprocess.run(["git", "-C", root, "worktree", "remove", "--force", tree], check=True)
    return recorded(target)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True, dest="verb")
    verbs.add_parser("record").add_argument("--to", type=Path, default=RECORDING)
    for verb in ("commits", "diff"):
        one = verbs.add_parser(verb)
        one.add_argument("old")
        one.add_argument("new")
        one.add_argument("--new", default="", dest="fields", metavar="FIELD,...")
    options = parser.parse_args()
    if options.verb == "record":
        options.to.write_bytes(lzma.compress(written(replay()), preset=9))
        return 0
    names = frozenset(options.fields.split(",")) - {""}
    if options.verb == "diff":
        return int(compared(recorded(Path(options.old)), recorded(Path(options.new)), names) > 0)
    with tempfile.TemporaryDirectory() as folder:
        found = [of_commit(revision, Path(folder)) for revision in (options.old, options.new)]
    return int(compared(*found, names) > 0)


if __name__ == "__main__":
    sys.exit(main())
