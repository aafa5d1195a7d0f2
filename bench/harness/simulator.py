"""The service that all contestants work at: `pollwheel simulate`, a fresh one for each run.

What was sent is counted here, by its ledger, and not by the contestant.
"""

import json
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .process import Server


@dataclass
class Ledger:
    creates: int
    polls: int
    jobs: int
    solved: int
    fewest_and_most_polls: tuple[int, int]

    @property
    def exchanges(self) -> int:
        return self.creates + self.polls


class Simulator:
    def __init__(self, pollwheel: Path, folder: Path, solve_ms: int, latency: str):
        out = folder / "simulator.url"
        # That of an earlier run is not to be taken for this one's.
        out.unlink(missing_ok=True)
        argv = [str(pollwheel), "simulate", "--plain", "--latency", latency, "--solve-time", f"{solve_ms}ms"]
        self.server = Server(argv, folder / "simulator.log", out=out)
        self.url = self.server.wait_until(lambda: out.read_text().strip(), "the simulator")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.stop()

    def read(self, page: str) -> bytes:
        with urllib.request.urlopen(self.url + page) as answer:
            return answer.read()

    def post(self, path: str, message: dict) -> dict:
        head = {"content-type": "application/json"}
        request = urllib.request.Request(self.url + path, json.dumps(message).encode(), head)
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def totals(self) -> dict:
        return json.loads(self.read("/ledger"))["totals"]

    def jobs(self) -> Iterator[dict]:
        return map(json.loads, self.read("/ledger/jobs").splitlines())

    def ledger(self, tokens: dict[str, str]) -> Ledger:
        """What happened; `tokens` takes the token of each row by its id."""
        totals = self.totals()
        fewest, most = 1 << 30, 0
        for job in self.jobs():
            tokens[job["tag"].removeprefix("row=")] = job["token"]
            fewest, most = min(fewest, job["polls"]), max(most, job["polls"])
        return Ledger(totals["creates"], totals["polls"], totals["jobs"], totals["solved"], (fewest, most))
