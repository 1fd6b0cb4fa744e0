"""A service whose answers are written down, for tests of the models."""

import json

from tests.service.controllers.api import Answer

# Of a list of canary configs.
ENTRY = {
    "id": "c1",
    "name": "shop",
    "updatedTimestamp": 1767225600000,
    "updatedTimestampIso": "2026-01-01T00:00:00Z",
    "applications": ["web"],
}


class Scripted:
    """A service whose answers are written down: one per path, a list for one call after another, or a function."""

    def __init__(self, **answers):
        self.answers = answers
        self.seen = []

    def __call__(self, method, path, *, json=None, params=None, headers=None):
        self.seen.append((method, path, json, params))
        answer = self.answers[path.strip("/").split("/")[-1]]
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if callable(answer):
            answer = answer(json)
        if isinstance(answer, OSError):
            raise answer
        return Answer(answer, "because") if isinstance(answer, int) else answer


def body(value, status=200):
    return Answer(status, json.dumps(value))
