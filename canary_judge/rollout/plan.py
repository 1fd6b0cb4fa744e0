"""The stages of a rollout as the user writes them, and what to do when nothing can be told."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from canary_judge.config.metrics import Duration, StrictModel
from canary_judge.config.reading import explain
from canary_judge.errors import ConfigError
from canary_judge.routing import Ahead
from canary_judge.series import format_duration

__all__ = ["Freeze", "Ready", "RolloutPlan", "Stage"]


def _as_recent(value: object) -> object:
    if value is False or value == "off":  # YAML reads `off` as false
        return "off"
    if isinstance(value, int | float) and value is not True and 1 < value <= _MOST_RECENT:
        return float(value)
    raise ValueError(f"is {value!r}; give a number above 1, up to {_MOST_RECENT:g}, or off")


_MOST_RECENT = 10
Recent = Annotated[float | Literal["off"], BeforeValidator(_as_recent)]


# RFC 9110, sections 5.1 and 5.5; of a cookie's value RFC 6265 leaves out the semicolon.
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[!-~]([ -~]*[!-~])?")


class Stage(StrictModel):
    """One weight of a rollout, and what it takes to leave it.

    `minimum`, `maximum`, `needs` and `recent` fall back to those of the plan.
    """

    weight: float = Field(default=0.0, ge=0, le=100, description="Percent of the traffic.")
    header: dict[str, str] | None = Field(
        default=None,
        min_length=1,
        max_length=1,
        description="In place of a weight, at the beginning: requests with this header go to the canary.",
    )
    cookie: dict[str, str] | None = Field(
        default=None, min_length=1, max_length=1, description="The same: requests with this cookie."
    )
    mirror: float | None = Field(
        default=None, gt=0, le=100, description="The same: this percent of the requests are copied to the canary."
    )
    minimum: Duration | None = Field(default=None, description="Data of at least this length are judged first.")
    maximum: Duration | None = Field(default=None, description="Deadline: see `at_deadline` of the plan.")
    approval: bool = Field(default=False, description="A human must approve before this stage is left.")
    needs: Literal["pass", "no_harm"] | None = Field(
        default=None,
        description="`pass`: safety is proven. `no_harm`: no gate or guard is degraded, failing, silent or empty.",
    )
    recent: Recent | None = Field(default=None, description="See `recent` of the plan.")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        ways = [name for name in ("header", "cookie", "mirror") if getattr(self, name) is not None]
        if len(ways) + (self.weight > 0) != 1:
            raise ValueError("give a `weight` above 0, or one of `header`, `cookie`, `mirror` in its place")
        for pair in (self.header, self.cookie):
            for name, value in (pair or {}).items():
                if not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value) or (pair is self.cookie and ";" in value):
                    raise ValueError(f"{name!r}: {value!r} can be no header or cookie; write it as x-canary: always")
        return self

    @property
    def ahead(self) -> Ahead | None:
        """What brings the canary its requests in place of a weight."""
        if self.weight > 0:
            return None
        header, cookie = (None if one is None else next(iter(one.items())) for one in (self.header, self.cookie))
        return Ahead(header=header, cookie=cookie, mirror=self.mirror)

    @property
    def ahead_key(self) -> str:
        """The key of that (`WeightReading.ahead`); empty for a weight."""
        return "" if (ahead := self.ahead) is None else ahead.key

    def told(self) -> str:
        """The stage in words."""
        if self.mirror is not None:
            return f"mirror {self.mirror:g} %"
        pair = self.header or self.cookie
        if pair is None:
            return f"{self.weight:g} %"
        name, value = next(iter(pair.items()))
        return f"{'header' if self.header else 'cookie'} {name}: {value}"

    def reached(self) -> str:
        """What is so when the stage is reached."""
        ahead = self.ahead
        if ahead is None:
            return f"the canary has {self.weight:g} % of the traffic"
        sample = "" if ahead.mirror is not None else "who sends it is no random sample of the users, and "
        return f"{ahead}; {sample}this evidence is not pooled with that of the weights"


class Freeze(StrictModel):
    """In place of a rollback, where a migration forbids it: the failed canary keeps its weight, up to a bound."""

    at_most: float = Field(gt=0, lt=100, description="Percent; a failed canary that has more is brought back to this.")

    def told(self) -> str:
        """What becomes of a canary that fails, in words."""
        return f"if it fails it is frozen, not rolled back, and keeps up to {self.at_most:g} %"


class Ready(StrictModel):
    """What must hold before the canary gets its first traffic: a query or a command."""

    query: str | None = Field(
        default=None, min_length=1, description="Of the canary's labels; its newest value must be above 0."
    )
    source: str = Field(default="default", description="Name of the source that answers the query.")
    command: list[str] | None = Field(default=None, min_length=1, description="As a list; it must exit with 0.")
    within: Duration = Field(default=timedelta(minutes=30), description="After this long the rollout stops at 0 %.")

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.query is None) == (self.command is None):
            raise ValueError("give a `query` or a `command`, as `ready: {command: [kubectl, rollout, status, ...]}`")
        return self


def _as_stage(value: object) -> object:
    if isinstance(value, str):
        text = f"{value!r} is no stage; give the percent as a number, as in [5, 25, 50, 75, 100]"
        raise ValueError(text)  # noqa: TRY004  (pydantic tells it with its place)
    number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _HUGE
    return {"weight": float(value)} if number else value  # type: ignore[arg-type]


_HUGE = 10**9
_DEFAULT_STAGES = tuple(Stage(weight=weight) for weight in (5.0, 25.0, 50.0, 75.0, 100.0))


class RolloutPlan(StrictModel):
    """The stages of a rollout, and what to do when nothing can be told.

    Raises:
        ConfigError: From `from_mapping`: the field, its value and the remedy.

    Examples:
        >>> plan = RolloutPlan(stages=[5, 25, {"weight": 50, "approval": True}, 100], maximum="2h")
        >>> [stage.weight for stage in plan.stages], plan.at_deadline
        ([5.0, 25.0, 50.0, 100.0], 'hold')
    """

    stages: tuple[Annotated[Stage, BeforeValidator(_as_stage)], ...] = Field(
        default=_DEFAULT_STAGES,
        strict=False,
        min_length=1,
        description="Rising weights, the last one 100; a number, or a mapping with more. A header, a cookie or a "
        "mirror may stand before them.",
    )
    minimum: Duration = Field(
        default=timedelta(minutes=2), description="Data of this length are judged at each stage before it is left."
    )
    maximum: Duration | None = Field(default=None, description="Deadline of each stage; none by default.")
    at_deadline: Literal["hold", "roll_back"] = Field(
        default="hold",
        description="When a stage is not decided by its deadline: hold until a human approves, or roll back.",
    )
    needs: Literal["pass", "no_harm"] = Field(default="pass", description="What it takes to leave a stage.")
    recent: Recent = Field(
        default=2.0,
        description="The newest data at this weight must rule out so many times the margin by themselves before it is "
        "raised; `off`: the evidence of the whole run is enough.",
    )
    patience: Duration = Field(
        default=timedelta(minutes=5), description="How long the canary may run without any new data of it, or drifted."
    )
    when_raised: Literal["bring_back", "roll_back", "stop"] = Field(
        default="bring_back",
        description="When something else gave the canary more than was judged, for longer than `patience`: bring it "
        "back to the judged weight, roll back, or stop and leave it.",
    )
    when_blind: Literal["hold", "roll_back"] = Field(
        default="roll_back", description="When there is no new data of the canary for longer than `patience`."
    )
    first_stage_at_most: float = Field(default=10.0, gt=0, lt=100, description="Percent; a larger one is an error.")
    aftercare: Duration = Field(
        default=timedelta(minutes=2), description="After a rollback the canary's requests are watched this long."
    )

    after: Duration | None = Field(
        default=None,
        description="How long the canary is watched at 100 %, with a way back: keep the stable version running so "
        "long. There is no baseline beside it any more, so limits are judged, and shares of requests against the "
        "baseline's last hours at twice their margin.",
    )
    ready: Ready | None = Field(default=None, description="What must hold before the first weight.")
    freeze: Freeze | None = Field(
        default=None, description="A canary that fails keeps its weight, up to `at_most`, in place of a rollback."
    )
    revision: list[str] | None = Field(
        default=None,
        min_length=1,
        description="A command whose output names the revision that is rolled out; when it changes, the rollout ends "
        "as superseded, at 0 %.",
    )

    notify: str | list[str] | None = Field(
        default=None,
        exclude=True,
        repr=False,
        description="A URL (POST) or a command as a list (standard input) that is told of a rollback, a hold past its "
        "deadline and the end, as JSON; `${env:NAME}` is replaced.",
    )

    @model_validator(mode="after")
    def _rising(self) -> Self:
        weighed = list(itertools.dropwhile(lambda stage: stage.weight == 0, self.stages))
        weights = [stage.weight for stage in weighed]
        if not weights:
            raise ValueError("stages: none has a weight; end with 100")
        if 0 in weights:
            raise ValueError("stages: a header, cookie or mirror comes after a weight; they stand at the beginning")
        for one, other in itertools.pairwise(weights):
            if other <= one:
                raise ValueError(f"stages: {other:g} comes after {one:g}; weights must rise")
        if weights[-1] != 100:
            raise ValueError(f"stages: the last weight is {weights[-1]:g}; end with 100")
        if weights[0] > self.first_stage_at_most:
            raise ValueError(
                f"stages: the first weight is {weights[0]:g} %, more than {self.first_stage_at_most:g} %: begin with 1 "
                "to 10 %, or raise `first_stage_at_most` if the traffic is too thin for that"
            )
        for stage in self.stages:
            shortest, longest = self.minimum_of(stage), self.maximum_of(stage)
            if longest is not None and longest <= shortest:
                raise ValueError(
                    f"stages: {stage.told()} has a maximum of {format_duration(longest)}, no longer than its "
                    f"minimum of {format_duration(shortest)}"
                )
        return self

    @classmethod
    def from_mapping(cls, data: object, *, name: str = "rollout") -> RolloutPlan:
        """Validate plain data, as under `rollout:` in a config."""
        if not isinstance(data, Mapping):
            raise ConfigError(f"{name}: is {type(data).__name__}; it must be a mapping, as `stages: [5, 25, 50, 100]`")
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            lines = explain(
                error, data, known=[*cls.model_fields, *Stage.model_fields, *Ready.model_fields, *Freeze.model_fields]
            )
            told = dict.fromkeys(f"{name}.{line}".replace(f"{name}.the config: ", f"{name}: ") for line in lines)
            raise ConfigError("\n".join(told)) from None

    def minimum_of(self, stage: Stage) -> timedelta:
        """The least data judged at this stage."""
        return stage.minimum or self.minimum

    def recent_of(self, stage: Stage) -> float | None:
        """Times the margin that the newest data must rule out before this stage is left; None: they need not."""
        wanted = self.recent if stage.recent is None else stage.recent
        return None if wanted == "off" or (stage.needs or self.needs) == "no_harm" else float(wanted)

    def maximum_of(self, stage: Stage) -> timedelta | None:
        """The stage's deadline."""
        return stage.maximum or self.maximum
