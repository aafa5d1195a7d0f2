"""One run of one contestant, and whether it did the work."""

import shutil
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from .contestants import Arena, Contestant, Workload, Wrk
from .process import Disturbed, Fault, Usage, run
from .redis import Redis
from .simulator import Ledger, Simulator

# A job that ends while its poll is on the way may need one more.
TOLERATED_POLLS = 0.02
# What wrk polls stays pending.
FOR_EVER_MS = 3_600_000


@dataclass
class Run:
    """What one run used. CPU in seconds, of the contestant, of the simulator and of Redis."""

    contestant: str
    workload: str
    usage: Usage
    ledger: Ledger
    simulator_cpu_s: float
    redis_cpu_s: float = 0.0
    redis_reads: int = 0
    redis_commands: int = 0

    @property
    def us_per_exchange(self) -> float:
        return self.usage.cpu_s / self.ledger.exchanges * 1e6

    @property
    def us_per_job(self) -> float:
        return self.usage.cpu_s / self.ledger.jobs * 1e6

    @property
    def redis_us_per_job(self) -> float:
        return self.redis_cpu_s / self.ledger.jobs * 1e6

    @property
    def jobs_per_cpu_s(self) -> float:
        return self.ledger.jobs / self.usage.cpu_s

    @property
    def simulator_share(self) -> float:
        """Of a core, while the contestant ran."""
        return self.simulator_cpu_s / self.usage.wall_s


@dataclass
class Setting:
    """What is the same for all contestants."""

    binaries: Path
    work: Path
    latency: str
    fsync: str


def play_even(contestant: Contestant, workload: Workload, setting: Setting) -> Run:
    """Plays until the contestant was not disturbed, five times at most."""
    for _ in range(4):
        try:
            return play(contestant, workload, setting)
        except Disturbed as why:
            print(f"again, because the machine is busy: {why}", file=sys.stderr, flush=True)
    return play(contestant, workload, setting)


def play(contestant: Contestant, workload: Workload, setting: Setting) -> Run:
    folder = setting.work / f"{contestant.name}-{workload.name}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    is_floor = isinstance(contestant, Wrk)
    solve_ms = FOR_EVER_MS if is_floor else workload.solve_ms
    redis = Redis(folder, setting.fsync) if contestant.uses_redis else None
    try:
        with Simulator(setting.binaries / "pollwheel", folder, solve_ms, setting.latency) as simulator:
            arena = Arena(folder, workload, simulator, redis, setting.binaries)
            contestant.prepare(arena)
            run = measure(contestant, arena)
            if not is_floor:
                verify(contestant, arena, run)
            return run
    finally:
        if redis:
            redis.__exit__()


def measure(contestant: Contestant, arena: Arena) -> Run:
    argv, env = contestant.argv(arena), contestant.environment(arena)
    redis_before = arena.redis.counters() if arena.redis else {}
    simulator_before = arena.simulator.server.cpu_s()
    usage = run(argv, arena.folder / "contestant.log", arena.workload.time_limit_s, env)
    # Answers to a client that has gone are still being written.
    time.sleep(0.1)
    simulator_cpu = arena.simulator.server.cpu_s() - simulator_before
    redis_after = arena.redis.counters() if arena.redis else {}
    grown = {name: redis_after[name] - redis_before[name] for name in redis_after}
    totals = arena.simulator.totals()
    if totals["refused"] or totals["unknown_jobs"]:
        raise Fault(f"{contestant.name} was refused {totals['refused']} times; see {arena.folder}")
    ledger = Ledger(totals["creates"], totals["polls"], totals["jobs"], totals["solved"], (0, 0))
    return Run(
        contestant.name, arena.workload.name, usage, ledger, simulator_cpu,
        # One read and one command are the count's own.
        grown.get("cpu_s", 0.0), int(grown.get("reads", 1)) - 1, int(grown.get("commands", 1)) - 1,
    )


def verify(contestant: Contestant, arena: Arena, run: Run) -> None:
    """Each row has its token, once; each job was created once and polled as often as everybody's."""
    load, expected = arena.workload, {}
    run.ledger = ledger = arena.simulator.ledger(expected)
    got = contestant.tokens(arena)
    faults = []
    if repeated := [id for id, count in Counter(id for id, _ in got).items() if count > 1]:
        faults.append(f"{len(repeated)} rows have several results, such as {repeated[0]}")
    if wrong := [id for id, token in got if expected.get(id) != token]:
        faults.append(f"{len(wrong)} rows have not the token that was made for them, such as {wrong[0]}")
    if len(got) != load.jobs:
        faults.append(f"{len(got)} results of {load.jobs}")
    if (ledger.creates, ledger.jobs, ledger.solved) != (load.jobs,) * 3:
        faults.append(f"{ledger.creates} creates, {ledger.jobs} jobs, {ledger.solved} solved of {load.jobs}")
    who = f"{contestant.name}, {load.name}"
    if faults:
        raise Fault(f"{who}: {'; '.join(faults)}; see {arena.folder}")
    polls = ledger.polls / load.jobs
    if abs(polls - load.polls) > load.polls * TOLERATED_POLLS:
        raise Disturbed(f"{who}: {polls:.3f} polls a job instead of {load.polls} ({ledger.fewest_and_most_polls})")
