"""Who is compared: how each is started, where its results are, and what it leaves out."""

import csv
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from . import peers
from .build import ROOT
from .process import Fault, prepare
from .redis import Redis
from .simulator import Simulator

SITE = "shop.example.com"
WEBSITE_URL = f"https://{SITE}/login?row=row-"
WEBSITE_KEY = "10000000-ffff-ffff-ffff-000000000001"
# Binds nobody: every contestant is bounded by the requests under way alone.
UNBOUND = "100000/s"


@dataclass(frozen=True)
class Workload:
    """N jobs, each one create and `polls` polls."""

    name: str
    jobs: int
    polls: int
    in_flight: int
    connections: int
    interval_ms: int
    solve_ms: int

    @classmethod
    def timed(cls, jobs: int, polls: int, in_flight: int, connections: int, interval_ms: int):
        """Waits as a user would, of the interval and up to a tenth more. The solve ends where it makes `polls` polls of
        everybody, those included whose polls are late under load."""
        solve_ms = int(interval_ms * (polls - 0.3))
        if solve_ms < interval_ms * (polls - 1) * 1.1:
            raise Fault("more than 6 polls cannot be told apart with waits that vary by a tenth")
        return cls("timed", jobs, polls, in_flight, connections, interval_ms, solve_ms)

    @classmethod
    def closed(cls, jobs: int, connections: int):
        """No waits: solved at once, polled at once."""
        return cls("closed", jobs, 1, connections, connections, 0, 0)

    @property
    def time_limit_s(self) -> float:
        waves = -(-self.jobs // self.in_flight) if self.interval_ms else 0
        return 60 + waves * self.polls * self.interval_ms / 1000 * 1.3 + self.jobs / 500


@dataclass
class Arena:
    """One run of one contestant: a folder, a simulator, and Redis where it needs one."""

    folder: Path
    workload: Workload
    simulator: Simulator
    redis: Redis | None
    binaries: Path

    @property
    def input(self) -> Path:
        return self.folder / "requests.csv"

    @property
    def output(self) -> Path:
        return self.folder / "results.csv"

    @property
    def environment(self) -> dict[str, str]:
        load = self.workload
        return {
            "BASE_URL": self.simulator.url, "COUNT": str(load.jobs), "CONNECTIONS": str(load.connections),
            "IN_FLIGHT": str(load.in_flight), "FIRST_MS": str(load.interval_ms), "INTERVAL_MS": str(load.interval_ms),
            "REDIS_URL": self.redis.url if self.redis else "", "WEBSITE_URL": WEBSITE_URL, "WEBSITE_KEY": WEBSITE_KEY,
        }

    def write_input(self) -> None:
        with self.input.open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["id", "website_url", "website_key"])
            rows.writerows((f"row-{n}", f"{WEBSITE_URL}{n}", WEBSITE_KEY) for n in range(self.workload.jobs))

    def tokens_in_output(self) -> list[tuple[str, str]]:
        with self.output.open(newline="") as file:
            return [(row["id"], row["token"]) for row in csv.DictReader(file)]


def write_kind(folder: Path, interval_ms: int) -> Path:
    """A folder with pollwheel's hCaptcha, polled so often, for `--jobs`."""
    times = {"first_after": f"{interval_ms}ms", "interval": f"{max(interval_ms, 1)}ms", "timeout": "20h"}
    text = (ROOT / "jobs" / "hcaptcha.toml").read_text()
    for key, value in times.items():
        text, found = re.subn(rf'^{key} = .*$', f'{key} = "{value}"', text, flags=re.M)
        if found != 1:
            raise Fault(f"jobs/hcaptcha.toml has no {key}")
    kinds = folder / "kinds"
    kinds.mkdir(exist_ok=True)
    (kinds / "hcaptcha.toml").write_text(text)
    return kinds


class Contestant:
    """One program. `missing` is what it does not do of what pollwheel does."""

    name = label = missing = ""
    workloads = ("timed",)
    uses_redis = False

    def install(self) -> None:
        """Once, before the first round."""

    def prepare(self, arena: Arena) -> None:
        arena.write_input()

    def argv(self, arena: Arena) -> list[str]:
        raise NotImplementedError

    def environment(self, arena: Arena) -> dict[str, str]:
        return arena.environment

    def tokens(self, arena: Arena) -> list[tuple[str, str]]:
        return arena.tokens_in_output()


class Pollwheel(Contestant):
    workloads = ("timed", "closed")
    missing = "nothing: journal or queue fsynced, limits on rate, money and sites, retries, crash recovery"

    def argv(self, arena: Arena) -> list[str]:
        load = arena.workload
        return [
            str(arena.binaries / "pollwheel"), "run", *self.ends(arena), "--job", "hcaptcha",
            "--base-url", arena.simulator.url, "--authorized-site", SITE,
            "--jobs", str(write_kind(arena.folder, load.interval_ms)), "--submit-rate", UNBOUND, "--max-spend", "1000000",
            "--max-in-flight", str(self.in_flight(load)), "--max-connections", str(load.connections),
            "--summary", str(arena.folder / "summary.json"),
        ]

    def in_flight(self, load: Workload) -> int:
        # A job waits while its id is recorded: with as many jobs as connections, connections would idle.
        return load.in_flight if load.interval_ms else 8 * load.connections

    def ends(self, arena: Arena) -> list[str]:
        return ["--from", str(arena.input), "--to", str(arena.output)]

    def environment(self, arena: Arena) -> dict[str, str]:
        return {"POLLWHEEL_API_TOKEN": "bench"}


class PollwheelCsv(Pollwheel):
    name = "pollwheel-csv"
    label = "pollwheel, CSV to CSV, journal"


class PollwheelRedis(Pollwheel):
    name = "pollwheel-redis"
    label = "pollwheel, Redis to Redis"
    uses_redis = True

    def ends(self, arena: Arena) -> list[str]:
        return ["--from", "redis:bench:requests", "--to", "redis:bench:results", "--redis-url", arena.redis.url]

    def prepare(self, arena: Arena) -> None:
        def message(n: int) -> tuple[str, str, str]:
            request = {"id": f"row-{n}", "website_url": f"{WEBSITE_URL}{n}", "website_key": WEBSITE_KEY}
            return "LPUSH", "bench:requests", json.dumps(request)

        for start in range(0, arena.workload.jobs, 1000):
            end = min(start + 1000, arena.workload.jobs)
            arena.redis.connection.pipeline([message(n) for n in range(start, end)])

    def tokens(self, arena: Arena) -> list[tuple[str, str]]:
        outcomes = map(json.loads, arena.redis.connection("LRANGE", "bench:results", 0, -1))
        return [(outcome["id"], outcome["token"]) for outcome in outcomes]


class Bare(Contestant):
    name = "bare"
    label = "bare loop, reqwest"
    workloads = ("timed", "closed")
    missing = "journal, limits, retries, time-outs of jobs: killed, it pays for every job under way again and loses unflushed results"

    def argv(self, arena: Arena) -> list[str]:
        load = arena.workload
        ends = [arena.simulator.url, str(arena.input), str(arena.output), str(load.connections)]
        pace = [str(load.in_flight), str(load.interval_ms), str(load.interval_ms)]
        words = ["timed", *ends, *pace] if load.interval_ms else ["closed", *ends]
        return [str(arena.binaries / "bare"), *words]


class Script(Contestant):
    name = "aiohttp"
    label = "asyncio + aiohttp script, CSV to CSV"
    missing = "journal, limits, retries: killed, it starts over and pays again"
    program = "script.py"

    def install(self) -> None:
        self.python = peers.python()

    def argv(self, arena: Arena) -> list[str]:
        return [str(self.python), str(peers.BENCH / "peers" / "python" / self.program), str(arena.input), str(arena.output)]

    def environment(self, arena: Arena) -> dict[str, str]:
        return arena.environment | {"PYTHONDONTWRITEBYTECODE": "1"}


class Arq(Script):
    name = "arq"
    label = "arq worker, aiohttp"
    missing = "remote ids are not recorded: killed, jobs under way are created and paid again; no rate or money limit"
    uses_redis = True
    program = "worker.py"

    def prepare(self, arena: Arena) -> None:
        self.python_program("push.py", arena)

    def tokens(self, arena: Arena) -> list[tuple[str, str]]:
        return list(json.loads(self.python_program("results.py", arena)).items())

    def python_program(self, name: str, arena: Arena) -> str:
        argv = [self.python, peers.BENCH / "peers" / "python" / name]
        return prepare(argv, arena.folder / f"{name}.log", env=self.environment(arena))


class BullMq(Contestant):
    name = "bullmq"
    label = "BullMQ worker, undici"
    missing = "remote ids are not recorded: killed, jobs under way are created and paid again; no money limit (rate limit: there, not used)"
    uses_redis = True

    def install(self) -> None:
        self.folder = peers.node()

    def prepare(self, arena: Arena) -> None:
        prepare(["node", self.folder / "push.mjs"], arena.folder / "push.log", env=arena.environment)

    def argv(self, arena: Arena) -> list[str]:
        return ["node", str(self.folder / "worker.mjs")]

    def tokens(self, arena: Arena) -> list[tuple[str, str]]:
        redis = arena.redis.connection
        ids = redis("ZRANGE", "bull:bench:completed", 0, -1)
        values = redis.pipeline([("HGET", b"bull:bench:" + id, "returnvalue") for id in ids])
        return [(id.decode(), json.loads(value)) for id, value in zip(ids, values)]


class Wrk(Contestant):
    """The floor under all clients: what the kernel and the least of HTTP cost. It has no jobs and runs for a time."""

    workloads = ("closed",)
    missing = "all: it sends ready-made bytes and reads no answer"
    seconds = 4

    def __init__(self, script: str, label: str):
        self.name, self.label, self.script = f"wrk-{script}", f"wrk, {label}", script

    def install(self) -> None:
        if not shutil.which("wrk"):
            raise Fault("wrk is missing: install it, or leave it out by --only")

    def prepare(self, arena: Arena) -> None:
        data = {"type_job_id": "11", "website_url": f"{WEBSITE_URL}0", "website_key": WEBSITE_KEY}
        self.job = arena.simulator.post("/api/createJob", {"api_token": "bench", "data": data})["job_id"]

    def argv(self, arena: Arena) -> list[str]:
        script = peers.BENCH / "peers" / "wrk" / f"{self.script}.lua"
        connections = str(arena.workload.connections)
        return ["wrk", "-t1", f"-c{connections}", f"-d{self.seconds}s", "-s", str(script), arena.simulator.url + "/api/getJobResult"]

    def environment(self, arena: Arena) -> dict[str, str]:
        return {"JOB_ID": str(self.job), "POLLS": str(arena.workload.polls)}


ALL: list[Contestant] = [
    Wrk("poll", "polls alone"), Wrk("mix", "creates and polls"), Bare(), PollwheelCsv(), PollwheelRedis(), Script(), BullMq(), Arq(),
]
