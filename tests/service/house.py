"""A service of simulated shops, served by a real server on 127.0.0.1, whose clock the test moves."""

import asyncio
import contextlib
import json
import threading
from datetime import UTC, datetime

import requests
import uvicorn

from canary_judge import JudgeConfig, SourceUnavailable
from canary_judge.files import put_file
from canary_judge.service import Runs
from canary_judge.service.app import make_app
from canary_judge.testing import simulated_world
from tests.service.controllers.api import Answer

SIDES = {"canary": {"version": "2"}, "baseline": {"version": "1"}}


class Faulty:
    """A source that can be told to break."""

    def __init__(self, source):
        self.source = source
        self.down = False
        self.asked = 0
        self.wait = None

    def fetch(self, queries, window):
        self.asked += 1
        if self.wait is not None:
            self.wait.wait()
        if self.down:
            raise SourceUnavailable("the source is down")
        return self.source.fetch(queries, window)


class House:
    """Shops by the name of their config, all on one clock."""

    def __init__(self, folder, *, database=None, tokens=(), workers=0, serve=True, interval="1m", **more):
        self.folder, self.configs = folder, folder / "configs"
        self.configs.mkdir(exist_ok=True)
        self.interval = interval
        self.worlds, self.sources = {}, {}
        self.clock = None
        self.add("shop", **more)
        self.database = database or f"sqlite:///{folder}/judge.db"
        self.tokens = tokens
        self.runs = self.opened()
        self.app = make_app(self.runs, tokens=tokens)
        self.server, self.url = None, ""
        if serve:
            self.serve()

    def opened(self, **more):
        """Runs of this house; a second one is another replica."""
        return Runs(self.configs, self.database, workers=0, sources=self.find, now=self.now, url="http://judge", **more)

    def add(self, name, *, error_rate=0.005, canary_error_rate=0.005, seed=1, weight=10, rate=200.0, change=None):
        world = simulated_world(
            error_rate=error_rate,
            canary_error_rate=canary_error_rate,
            seed=seed,
            interval=self.interval,
            requests_per_second=rate,
        )
        if self.clock is not None:
            world.clock = self.clock
        self.clock = world.clock
        if weight:
            world.router.set_weight(weight)
        self.worlds[name], self.sources[name] = world, Faulty(world)
        plain = json.loads(world.config.model_dump_json(exclude={"sources", "router"}))
        plain |= {"name": name, **(change or {})}
        self.write(name, plain)
        return world

    def write(self, name, plain):
        JudgeConfig.from_mapping(plain)
        # at once, for somebody may be reading it
        put_file(self.configs / f"{name}.json", json.dumps(plain))

    def find(self, config, options):
        return {"default": self.sources.get(config.name) or self.sources["shop"]}

    def now(self):
        return self.clock.now()

    def pass_time(self, seconds=60):
        self.clock.seconds += seconds

    def serve(self):
        config = uvicorn.Config(self.app, host="127.0.0.1", port=0, access_log=False, log_config=None)
        self.server = uvicorn.Server(config)
        self._thread = threading.Thread(target=lambda: asyncio.run(self.server.serve()), daemon=True)
        self._thread.start()
        while not self.server.started:
            self._thread.join(0.01)
        port = self.server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.session = requests.Session()

    def api(self, method, path, *, json=None, params=None, headers=None, data=None):
        answer = self.session.request(
            method,
            self.url + path,
            json=json,
            params=params,
            headers=headers,
            data=data,
            allow_redirects=False,
            timeout=60,
        )
        return Answer(answer.status_code, answer.text)

    def look(self, config="shop", **more):
        answer = self.api("POST", "/v1/looks", json={"config": config, **SIDES, **more})
        assert answer.status == 200, answer
        return answer.json["summary"]

    def close(self):
        if self.server is not None:
            self.session.close()
            self.server.should_exit = True
            self._thread.join()
        else:
            self.runs.close()


@contextlib.contextmanager
def house(folder, **more):
    found = House(folder, **more)
    try:
        yield found
    finally:
        for source in found.sources.values():
            if source.wait is not None:
                source.wait.set()
        found.close()


def noon():
    return datetime(2026, 1, 1, 12, tzinfo=UTC)
