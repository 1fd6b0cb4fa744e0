"""A judgement in the forms that CI systems read: JUnit, GitHub, GitLab, Tekton.

References:
    GitHub Docs: workflow commands (escapes, GITHUB_OUTPUT, a summary of 1 MiB, 10 annotations of a kind a step).
    GitLab Docs: artifacts:reports:dotenv (5 KB, one line a value), artifacts:reports:annotations (external links).
    Tekton Docs: results (4 KiB in all).
"""

from __future__ import annotations

import json
from xml.etree import ElementTree as ET

from canary_judge.report.rows import COLUMNS, headline, missing, reasons, row, standing, subtitle, warnings
from canary_judge.results import Judgement, MetricResult, Outcome, Role, Verdict
from canary_judge.untrusted import printable

__all__ = [
    "Told",
    "dotenv",
    "fields",
    "github_annotations",
    "github_output",
    "github_summary",
    "gitlab_annotations",
    "junit",
]

Told = Judgement | str
# Of GitHub's summary, of a dotenv report and of all of Tekton's results, with room for what is around them.
_SUMMARY_BYTES, _DOTENV_BYTES, _RESULT_BYTES = 1024 * 1024 - 1024, 4500, 3000
_MOST_ANNOTATIONS = 10
_UNDECIDED = frozenset({Outcome.INCONCLUSIVE, Outcome.INSUFFICIENT, Outcome.NO_DATA})


def fields(told: Told) -> dict[str, str]:
    """verdict, action, score, sufficient, reason: each one line; all together fit into Tekton's results.

    Args:
        told: A judgement, or why there is none: then the verdict is error and the action hold.
    """
    if isinstance(told, str):
        found = {"verdict": "error", "action": "hold", "score": "", "sufficient": "false", "reason": _line(told)}
    else:
        found = {
            "verdict": told.verdict.value,
            "action": told.action.value,
            "score": f"{told.score:g}",
            "sufficient": str(told.sufficient).lower(),
            "reason": "; ".join(reasons(told)) or headline(told),
        }
    rest = _RESULT_BYTES - sum(len(value.encode()) for name, value in found.items() if name != "reason")
    return {**found, "reason": _cut(found["reason"], rest)}


def junit(told: Told, *, name: str) -> str:
    """A test suite: a case for the verdict and one for each metric."""
    suite = ET.Element("testsuite", name=_line(f"canary_judge: {name}"))
    if isinstance(told, str):
        ET.SubElement(_case(suite, name, "verdict"), "error", message=_line(told))
    else:
        suite.set("timestamp", told.end.strftime("%Y-%m-%dT%H:%M:%S"))
        case = _case(suite, name, "verdict")
        text = headline(told)
        if told.verdict is Verdict.FAIL:
            ET.SubElement(case, "failure", message=text).text = "\n".join(reasons(told))
        elif told.verdict is Verdict.MARGINAL:
            ET.SubElement(case, "skipped", message=text).text = "\n".join(reasons(told))
        for metric in told.metrics:
            _add_metric(_case(suite, name, metric.name), metric)
    for kind, key in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        suite.set(key, str(len(suite.findall(f"testcase/{kind}"))))
    suite.set("tests", str(len(suite.findall("testcase"))))
    whole = ET.Element("testsuites")
    whole.append(suite)
    ET.indent(whole)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(whole, encoding="unicode")}\n'


def _case(suite: ET.Element, classname: str, name: str) -> ET.Element:
    return ET.SubElement(suite, "testcase", classname=_line(classname), name=_line(name), time="0")


def _add_metric(case: ET.Element, metric: MetricResult) -> None:
    why = _line(metric.reason)
    if metric.role is Role.WATCH:
        ET.SubElement(case, "skipped", message=_line(f"watched only: {metric.outcome.value}: {why}"))
    elif metric.outcome is Outcome.ERROR:
        ET.SubElement(case, "error", message=why)
    elif metric.outcome is Outcome.REGRESSED:
        ET.SubElement(case, "failure", message=why)
    elif metric.outcome in _UNDECIDED:
        more = "" if metric.shortfall is None else f"; {metric.shortfall.text}"
        ET.SubElement(case, "skipped", message=_line(f"{metric.outcome.value}: {why}{more}"))
    else:
        ET.SubElement(case, "system-out").text = why


def github_output(told: Told, *, delimiter: str) -> str:
    """Lines for the file GITHUB_OUTPUT; `delimiter` is random, so that no value can end itself and set another."""
    lines = []
    for name, value in fields(told).items():
        if delimiter in value:
            raise ValueError("the delimiter stands in a value; draw another one")
        lines.append(f"{name}<<{delimiter}\n{value}\n{delimiter}\n")
    return "".join(lines)


def github_summary(told: Told, *, name: str) -> str:
    """Markdown for the file GITHUB_STEP_SUMMARY."""
    if isinstance(told, str):
        return f"### {_cell(name)}: no judgement\n\n{_cell(told)}\n\n"
    stage = standing(told)
    lines = [f"### {_cell(told.name)}: {_cell(headline(told))}", "", _cell(subtitle(told)), ""]
    lines += [_cell(stage), ""] if stage else []
    lines += [f"- {_cell(text)}" for text in reasons(told)]
    lines += ["", f"| metric | outcome | {' | '.join(COLUMNS)} |", "| --- " * (len(COLUMNS) + 2) + "|"]
    for metric in told.metrics:
        cells = row(metric)
        shown = [cells["metric"], cells["outcome"], *(cells[key] for key in COLUMNS)]
        lines.append(f"| {' | '.join(_cell(text) for text in shown)} |")
    for title, texts in (("Still missing", missing(told)), ("Warnings", warnings(told))):
        lines += ["", f"**{title}**", "", *(f"- {_cell(text)}" for text in texts)] if texts else []
    return _cut("\n".join([*lines, "", ""]), _SUMMARY_BYTES)


def github_annotations(told: Told, *, name: str) -> list[str]:
    """Workflow commands, at most ten: an error for what failed, a warning for what is undecided."""
    if isinstance(told, str):
        return [_command("error", name, told)]
    kind = {Verdict.FAIL: "error", Verdict.MARGINAL: "warning", Verdict.PASS: "notice"}[told.verdict]
    found = [_command(kind, told.name, headline(told))]
    for metric in told.metrics:
        if metric.role is Role.WATCH:
            continue
        if metric.outcome in (Outcome.REGRESSED, Outcome.ERROR):
            found.append(_command("error", metric.name, metric.reason))
        elif metric.outcome in _UNDECIDED and metric.role is Role.GATE:
            found.append(_command("warning", metric.name, metric.reason))
    return found[:_MOST_ANNOTATIONS]


def _command(kind: str, title: str, text: str) -> str:
    shown = _line(title)
    for character, escape in (("%", "%25"), (":", "%3A"), (",", "%2C")):
        shown = shown.replace(character, escape)
    return f"::{kind} title={shown}::{_line(text).replace('%', '%25')}"


def dotenv(told: Told) -> str:
    """CANARY_VERDICT and more, one line each, in less than GitLab's 5 KB."""
    lines = [f"CANARY_{name.upper()}={value}" for name, value in fields(told).items()]
    return _cut("\n".join(lines), _DOTENV_BYTES) + "\n"


def gitlab_annotations(told: Told, *, name: str, url: str) -> str:
    """The verdict as a link on the job's page."""
    label = f"{name}: {told}" if isinstance(told, str) else f"{told.name}: {headline(told)}"
    link = {"external_link": {"label": _cut(_line(label), 200), "url": url}}
    return json.dumps({"canary_judge": [link]})


def _line(text: str) -> str:
    return " ".join(printable(text).split())


def _cell(text: str) -> str:
    """Text in a cell of Markdown, in which nothing is markup."""
    shown = _line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for character in "\\|*_`[]~#!":
        shown = shown.replace(character, f"\\{character}")
    return shown.replace("@", "@\u2060")  # nobody is mentioned


def _cut(text: str, most: int) -> str:
    """At most so many bytes."""
    whole = text.encode()
    if len(whole) <= most:
        return text
    return whole[: max(most - 3, 0)].decode("utf-8", "ignore") + "..."
