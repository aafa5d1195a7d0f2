"""The report: medians and ranges over the rounds, and ratios, each taken within its round."""

import os
import platform
import re
import statistics
import subprocess
from collections.abc import Callable
from pathlib import Path

from . import peers, plot
from .contestants import Contestant, Workload
from .match import Run, Setting

Rounds = list[dict[tuple[str, str], Run]]
OURS, OURS_REDIS, BARE = "pollwheel-csv", "pollwheel-redis", "bare"


class Figures:
    """What all rounds say of one workload."""

    def __init__(self, rounds: Rounds, workload: str):
        self.rounds, self.workload = rounds, workload

    def of(self, name: str, value: Callable[[Run], float]) -> list[float]:
        return [value(played[self.workload, name]) for played in self.rounds if (self.workload, name) in played]

    def ratio(self, name: str, to: str, value: Callable[[Run], float]) -> list[float]:
        ours, theirs = self.of(name, value), self.of(to, value)
        return [a / b for a, b in zip(ours, theirs)]

    def ran(self, contestants: list[Contestant]) -> list[Contestant]:
        return [c for c in contestants if self.of(c.name, lambda run: 1.0)]


def median(values: list[float], digits: int = 1) -> str:
    return f"{statistics.median(values):,.{digits}f}" if values else "–"


def spread(values: list[float], digits: int = 1) -> str:
    if not values:
        return "–"
    low, high = f"{min(values):,.{digits}f}", f"{max(values):,.{digits}f}"
    return f"{median(values, digits)} ({low}–{high})" if len(values) > 1 else median(values, digits)


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def report(chosen: list[Contestant], workloads: list[Workload], rounds: Rounds, setting: Setting) -> str:
    parts = [
        "# Whole processes, the same work\n\nWritten by `bench/compare`; [README.md](README.md) says what is measured and how it is fair.\n"
        f"\n{machine(chosen, rounds, setting)}\n\n![CPU per job and per exchange](RESULTS.svg)"
    ]
    for workload in workloads:
        figures = Figures(rounds, workload.name)
        parts.append(timed(figures, workload, chosen) if workload.interval_ms else closed(figures, workload, chosen))
    if redis := queues(Figures(rounds, "timed"), chosen):
        parts.append(redis)
    parts.append(goals(rounds))
    missing = [[c.label, c.missing] for c in chosen]
    parts.append("## What they do not do\n\n" + table(["", "is missing"], missing).replace("---:", "---"))
    return "\n\n".join(parts) + "\n"


def machine(chosen: list[Contestant], rounds: Rounds, setting: Setting) -> str:
    versions = ", ".join(versions_of(chosen))
    load = os.getloadavg()[2]
    return (
        f"{os.cpu_count()} cores ({platform.machine()}), Linux {platform.release().split('-')[0]}; {versions}. {len(rounds)} rounds, all contestants in turn "
        f"in each; medians, and the least and the greatest in parentheses. Ratios are taken within a round. The simulator's latency: {setting.latency}; "
        f"Redis: append-only file, `appendfsync {setting.fsync}`, a fresh one for each run. Average load of the machine in the quarter of an hour before: {load:.1f}, so that walls say little and CPU most."
    )


def versions_of(chosen: list[Contestant]) -> list[str]:
    names = {c.name for c in chosen}
    asked = [(True, ["rustc", "--version"]), (True, ["redis-server", "--version"]), ("bullmq" in names, ["node", "--version"]),
             (bool({"aiohttp", "arq"} & names), [str(peers.INSTALLED / "python" / "bin" / "python"), "--version"]),
             (bool({"wrk-poll", "wrk-mix"} & names), ["wrk", "--version"])]
    found = []
    for wanted, argv in asked:
        if wanted:
            done = subprocess.run(argv, capture_output=True, text=True)
            number = re.search(r"\d+\.\d+[\d.]*", done.stdout + done.stderr)
            found.append(f"{Path(argv[0]).name} {number.group() if number else '?'}")
    if "bullmq" in names:
        text = (peers.BENCH / "peers" / "bullmq" / "package.json").read_text()
        found += [f"{name} {version}" for name, version in re.findall(r'"(bullmq|ioredis|undici)": "([\d.]+)"', text)]
    if {"aiohttp", "arq"} & names:
        text = (peers.BENCH / "peers" / "python" / "requirements.txt").read_text()
        found += [f"{name} {version}" for name, version in re.findall(r"^(aiohttp|arq|redis)==([\d.]+)", text, re.M)]
    return found


def timed(figures: Figures, load: Workload, chosen: list[Contestant]) -> str:
    rows = []
    for c in figures.ran(chosen):
        of = lambda value: figures.of(c.name, value)
        rows.append([
            c.label, spread(of(lambda r: r.us_per_exchange)), median(figures.ratio(c.name, BARE, lambda r: r.us_per_exchange), 2),
            spread(of(lambda r: r.us_per_job), 0), median(figures.ratio(c.name, OURS, lambda r: r.us_per_job), 2),
            median(of(lambda r: r.jobs_per_cpu_s), 0), median(of(lambda r: r.usage.peak_rss_mib)),
            median(of(lambda r: r.usage.wall_s)), median(of(lambda r: r.simulator_share * 100), 0) + " %",
        ])
    head = ["", "CPU µs per exchange", "× bare", "CPU µs per job", "× pollwheel CSV", "jobs per CPU s", "peak RSS MiB", "wall s", "simulator, of a core"]
    return (
        f"## Timed: {load.jobs:,} jobs of 1 create and {load.polls} polls\n\nPolled every {load.interval_ms / 1000:g} s (and up to a tenth more, drawn alike by all), solved after {load.solve_ms / 1000:g} s, "
        f"{load.in_flight:,} under way and {load.connections} connections at most.\n\n" + table(head, rows)
    )


def closed(figures: Figures, load: Workload, chosen: list[Contestant]) -> str:
    rows = []
    for c in figures.ran(chosen):
        of = lambda value: figures.of(c.name, value)
        is_floor = c.name.startswith("wrk")
        rows.append([
            c.label, spread(of(lambda r: r.us_per_exchange)), median(figures.ratio(c.name, BARE, lambda r: r.us_per_exchange), 2),
            median(figures.ratio(c.name, "wrk-mix", lambda r: r.us_per_exchange), 2), median(of(lambda r: r.ledger.exchanges / r.usage.wall_s), 0),
            "–" if is_floor else median(of(lambda r: r.us_per_job), 0), median(of(lambda r: r.usage.peak_rss_mib)),
            "–" if is_floor else median(of(lambda r: r.usage.wall_s)), median(of(lambda r: r.simulator_share * 100), 0) + " %",
        ])
    head = ["", "CPU µs per exchange", "× bare", "× wrk", "exchanges per s", "CPU µs per job", "peak RSS MiB", "wall s", "simulator, of a core"]
    return (
        f"## Closed: {load.jobs:,} jobs, solved at once, polled at once\n\nNo waits, {load.connections} connections that are never idle by intent: a create and a poll a job, so that what "
        "pollwheel records weighs most here.\n\n" + table(head, rows)
    )


def queues(figures: Figures, chosen: list[Contestant]) -> str:
    rows = []
    for c in figures.ran(chosen):
        if not c.uses_redis:
            continue
        of = lambda value: figures.of(c.name, value)
        both = lambda r: r.us_per_job + r.redis_us_per_job
        rows.append([
            c.label, median(of(lambda r: r.redis_reads / r.ledger.jobs), 2), median(of(lambda r: r.redis_commands / r.ledger.jobs)),
            median(of(lambda r: r.redis_us_per_job), 0), spread(of(both), 0), median(figures.ratio(c.name, OURS_REDIS, both)),
            median(of(lambda r: 1e6 / r.us_per_job), 0), median(of(lambda r: 1e6 / both(r)), 0),
        ])
    if not rows:
        return ""
    head = ["", "round trips per job", "commands per job", "Redis CPU µs per job", "worker and Redis, CPU µs per job", "× pollwheel",
            "jobs per CPU s of the worker", "of worker and Redis"]
    return (
        "## Queues: what Redis has to do (timed workload)\n\nA round trip is one read of Redis from a client's socket, however many commands it brings; commands within a script count.\n\n"
        + table(head, rows)
    )


def goals(rounds: Rounds) -> str:
    timed, closed = Figures(rounds, "timed"), Figures(rounds, "closed")
    exchange, job = (lambda r: r.us_per_exchange), (lambda r: r.us_per_job)
    found = [
        ("CPU per exchange, CSV to CSV, timed: × bare", timed.ratio(OURS, BARE, exchange), "≤ 1.3"),
        ("the same, closed: × bare", closed.ratio(OURS, BARE, exchange), "≤ 1.3"),
        ("the same, closed: × wrk", closed.ratio(OURS, "wrk-mix", exchange), "≤ 2"),
        ("CPU per job: of the aiohttp script's", timed.ratio(OURS, "aiohttp", job), "≤ 0.2"),
        ("CPU per job: of arq's", timed.ratio(OURS, "arq", job), "≤ 0.1"),
        ("CPU per job: of BullMQ's", timed.ratio(OURS, "bullmq", job), "≤ 0.25"),
        ("jobs per CPU s, Redis to Redis: × BullMQ", timed.ratio("bullmq", OURS_REDIS, job), "≥ 5"),
        ("the same with Redis' CPU", timed.ratio("bullmq", OURS_REDIS, lambda r: r.us_per_job + r.redis_us_per_job), "≥ 5"),
        ("round trips to Redis per job", timed.of(OURS_REDIS, lambda r: r.redis_reads / r.ledger.jobs), "≤ 3"),
    ]
    rows = [[what, spread(values, 2), goal, verdict(statistics.median(values), goal)] for what, values, goal in found if values]
    return "## Goals\n\n" + table(["", "measured", "goal", ""], rows)


def verdict(value: float, goal: str) -> str:
    sign, number = goal.split()
    met = value <= float(number) if sign == "≤" else value >= float(number)
    return "met" if met else "**missed**"


def plotted(chosen: list[Contestant], rounds: Rounds) -> str:
    timed, closed = Figures(rounds, "timed"), Figures(rounds, "closed")
    panels = []
    mid = lambda values: statistics.median(values)
    if jobs := timed.ran(chosen):
        rows = []
        for c in jobs:
            worker, redis = mid(timed.of(c.name, lambda r: r.us_per_job)), mid(timed.of(c.name, lambda r: r.redis_us_per_job))
            note = f"{worker:,.0f} + {redis:,.0f} µs" if redis else f"{worker:,.0f} µs"
            rows.append(plot.Bar(c.label, [worker, redis], note))
        panels.append(("CPU per job, timed", ["the process", "Redis"], rows))
    if exchanges := closed.ran(chosen):
        rows = []
        for c in exchanges:
            value = mid(closed.of(c.name, lambda r: r.us_per_exchange))
            rows.append(plot.Bar(c.label, [value], f"{value:.1f} µs"))
        panels.append(("CPU per HTTP exchange, closed", ["the process"], rows))
    return plot.bar_chart(panels)
