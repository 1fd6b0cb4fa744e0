"""Steady load: `python -m tests.live_load PORT REQUESTS_PER_SECOND LOG`, until it is terminated.

Each line of the log is a second: time, requests, answers other than 200 and 500, and connections that failed. Clients keep
the cookies they are given, and one in a thousand requests comes from a new client.
"""

from __future__ import annotations

import http.client
import random
import sys
import threading
import time
from collections import Counter
from pathlib import Path

THREADS = 8


def main() -> None:
    port, rate, log = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
    seen, lock = Counter(), threading.Lock()
    begun = time.monotonic()

    def client(number: int) -> None:
        rng = random.Random(number)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        cookie, sent = "", 0
        while True:
            due = begun + (number + sent * THREADS) / rate
            time.sleep(max(due - time.monotonic(), 0))
            sent += 1
            if rng.random() < 0.001:
                cookie = ""
            try:
                connection.request("GET", "/", headers={"Cookie": cookie} if cookie else {})
                answer = connection.getresponse()
                answer.read()
                given = answer.getheader("Set-Cookie")
                cookie = given.split(";")[0] if given else cookie
                kind = "ok" if answer.status in (200, 500) else "refused"
            except http.client.RemoteDisconnected:
                kind = "closed"  # an idle connection that the proxy has closed; a client sends it again
                connection.close()
            except (OSError, http.client.HTTPException):
                kind = "failed"
                connection.close()
            with lock:
                seen[kind] += 1

    for number in range(THREADS):
        threading.Thread(target=client, args=(number,), daemon=True).start()
    with Path(log).open("w", buffering=1) as file:
        while True:
            time.sleep(1)
            with lock:
                counts = dict(seen)
                seen.clear()
            print(
                f"{time.time():.3f}",
                sum(counts.values()),
                counts.get("refused", 0),
                counts.get("failed", 0),
                counts.get("closed", 0),
                file=file,
            )


if __name__ == "__main__":
    main()
