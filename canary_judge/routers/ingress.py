"""ingress-nginx: the canary is a second Ingress whose annotations hold its weight. Pure, like `weighted`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from canary_judge.errors import NotACanaryIngress, NotEnoughWeight, NotWeighted
from canary_judge.routers.weighted import Operation
from canary_judge.routing import Residual, WeightReading, check_percent, same_weight

__all__ = ["PREFIX", "ingress_changes", "ingress_reading", "ingress_residuals"]

PREFIX = "nginx.ingress.kubernetes.io"
_TOTAL = 100.0
_LARGEST = 1e9


def ingress_reading(obj: Mapping[str, Any], prefix: str = PREFIX) -> WeightReading:
    """The weight in percent of `canary-weight-total`; no annotation is 0."""
    annotations = _annotations(obj, prefix)
    percent = 100.0 * _number(annotations, f"{prefix}/canary-weight", 0.0) / _total(annotations, prefix)
    return WeightReading(percent=percent, per_route={str(obj.get("metadata", {}).get("name", "")): percent})


def ingress_changes(
    obj: Mapping[str, Any], percent: float, prefix: str = PREFIX, *, sticky: bool | None = None
) -> list[Operation]:
    """The guarded JSON Patch that sets the annotation; empty when it is set already.

    Args:
        obj: The canary's Ingress.
        percent: The weight.
        prefix: Of the annotations.
        sticky: Whether clients stay with the canary (`affinity-canary-behavior`, where the stable Ingress has an
            affinity); None leaves that as it is.
    """
    operations = _weight_changes(obj, percent, prefix)
    key = f"{prefix}/affinity-canary-behavior"
    annotations = _annotations(obj, prefix)
    behavior = "sticky" if sticky else "legacy"
    if sticky is None or annotations.get(key) == behavior:
        return operations
    path = f"/metadata/annotations/{key.replace('/', '~1')}"
    guard = {
        "op": "test",
        "path": f"/metadata/annotations/{prefix.replace('/', '~1')}~1canary",
        "value": annotations[f"{prefix}/canary"],
    }
    return [
        *(operations or [guard]),
        {"op": "replace" if key in annotations else "add", "path": path, "value": behavior},
    ]


def _weight_changes(obj: Mapping[str, Any], percent: float, prefix: str) -> list[Operation]:
    check_percent(percent)
    annotations = _annotations(obj, prefix)
    key = f"{prefix}/canary-weight"
    if percent == 0:  # can always be written, whatever stands there
        operations = _written(annotations, key, prefix, 0)
        return [] if operations[1]["value"] == annotations.get(key) else operations
    if key in annotations and same_weight(ingress_reading(obj, prefix).percent, percent):
        return []
    total = _total(annotations, prefix)
    weight = percent * total / 100
    if abs(weight - round(weight)) > 1e-9:
        raise NotEnoughWeight(
            f"{percent:g} % cannot be written with a total of {total:g}; use a whole percent, or annotate "
            f"{prefix}/canary-weight-total with 10000"
        )
    return _written(annotations, key, prefix, round(weight))


def _written(annotations: Mapping[str, str], key: str, prefix: str, weight: int) -> list[Operation]:
    path = f"/metadata/annotations/{key.replace('/', '~1')}"
    guard = key if key in annotations else f"{prefix}/canary"
    return [
        {"op": "test", "path": f"/metadata/annotations/{guard.replace('/', '~1')}", "value": annotations[guard]},
        {"op": "replace" if key in annotations else "add", "path": path, "value": str(weight)},
    ]


def ingress_residuals(
    obj: Mapping[str, Any], stable: Mapping[str, str] | None = None, prefix: str = PREFIX
) -> tuple[Residual, ...]:
    """What leads to the canary at weight 0.

    Args:
        obj: The canary's Ingress.
        stable: Annotations of the stable Ingress, where they are known: its affinity decides.
        prefix: Of the annotations.
    """
    mine = _annotations(obj, prefix)
    found = [
        Residual(place=f"annotation {name}", reason=f"{what} match pins canary")
        for name, what in (("canary-by-header", "header"), ("canary-by-cookie", "cookie"))
        if f"{prefix}/{name}" in mine
    ]
    theirs = {**mine, **(stable or {})}
    behavior = theirs.get(f"{prefix}/affinity-canary-behavior", mine.get(f"{prefix}/affinity-canary-behavior"))
    if theirs.get(f"{prefix}/affinity") == "cookie" and behavior != "legacy":
        reason = "sticky sessions on canary survive weight 0 (affinity-canary-behavior defaults to sticky)"
        found.append(Residual(place="annotation affinity", reason=reason))
    return tuple(found)


def _annotations(obj: Mapping[str, Any], prefix: str) -> Mapping[str, str]:
    metadata = obj.get("metadata")
    annotations: Any = metadata.get("annotations") if isinstance(metadata, Mapping) else None
    found: Mapping[str, str] = annotations if isinstance(annotations, Mapping) else {}
    # the controller parses it as Go does
    if str(found.get(f"{prefix}/canary")) not in ("true", "True", "TRUE", "t", "T", "1"):
        name = metadata.get("name") if isinstance(metadata, Mapping) else None
        raise NotACanaryIngress(
            f'Ingress {name!r} has no annotation {prefix}/canary: "true"; name the canary\'s Ingress'
        )
    return found


def _total(annotations: Mapping[str, str], prefix: str) -> float:
    """The controller ignores a total that is not above 100."""
    total = _number(annotations, f"{prefix}/canary-weight-total", _TOTAL)
    return max(_TOTAL, total)


def _number(annotations: Mapping[str, str], key: str, default: float) -> float:
    text = annotations.get(key)
    if text is None:
        return default
    try:
        number = float(text)
    except (TypeError, ValueError):
        number = -1.0
    if not 0 <= number <= _LARGEST:
        raise NotWeighted(f"annotation {key} is {text!r}, which is no weight; mend it")
    return number
