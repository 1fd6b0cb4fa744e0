"""What the user writes: the config, its metrics and presets; and what is likely to be wrong with them."""

from canary_judge.config.model import JudgeConfig, ScoreThresholds, TrafficExpectation, json_schema

__all__ = ["JudgeConfig", "ScoreThresholds", "TrafficExpectation", "json_schema"]
