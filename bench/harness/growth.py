"""pollwheel alone, with more and more to do."""

import csv
import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from .contestants import SITE, UNBOUND, WEBSITE_KEY, WEBSITE_URL, write_kind
from .process import Fault, Usage, cpu_s, environment, run, tail
from .simulator import Simulator

TOKEN = {"POLLWHEEL_API_TOKEN": "bench"}
FOR_EVER_MS = 24 * 3_600_000
# Creates that are recorded in a second, at the least. All jobs are to be in flight before the first one is polled.
SLOWEST_FILL = 3000


@dataclass
class Place:
    binaries: Path
    work: Path

    def folder(self, name: str) -> Path:
        folder = self.work / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder


@dataclass
class InFlight:
    jobs: int
    most_in_flight: int
    usage: Usage
    exchanges: int
    late_p50_ms: float
    late_p99_ms: float


@dataclass
class PollRate:
    """Of so many jobs, polled every so often."""

    jobs: int
    interval_ms: int
    polls_per_s: float
    core: float
    simulator_core: float
    late_p50_ms: float
    late_p99_ms: float


@dataclass
class Check:
    rows: int
    ours: Usage
    floor: Usage


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def write_rows(path: Path, rows: int) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "website_url", "website_key"])
        writer.writerows((f"row-{n}", f"{WEBSITE_URL}{n}", WEBSITE_KEY) for n in range(rows))


def command(place: Place, folder: Path, url: str, jobs: int, interval_ms: int, submit_rate: str = UNBOUND) -> list[str]:
    return [
        str(place.binaries / "pollwheel"), "run", "--from", str(folder / "requests.csv"), "--to", str(folder / "results.csv"),
        "--job", "hcaptcha", "--base-url", url, "--authorized-site", SITE, "--jobs", str(write_kind(folder, interval_ms)),
        "--submit-rate", submit_rate, "--max-in-flight", str(jobs), "--max-spend", "1000000",
        "--drain-timeout", "0s", "--summary", str(folder / "summary.json"),
    ]


def in_flight(place: Place, jobs: int) -> InFlight:
    """All jobs are created, then polled once, then done: two exchanges each, and all in flight at a time."""
    folder = place.folder(f"in-flight-{jobs}")
    write_rows(folder / "requests.csv", jobs)
    interval_ms = max(1000, jobs * 1000 // SLOWEST_FILL)
    with Simulator(place.binaries / "pollwheel", folder, interval_ms * 7 // 10, "0s") as simulator:
        argv = command(place, folder, simulator.url, jobs, interval_ms)
        usage = run(argv, folder / "contestant.log", 60 + interval_ms / 1000 * 6, TOKEN)
        totals = simulator.totals()
    if (totals["jobs"], totals["solved"], totals["polls"]) != (jobs,) * 3:
        raise Fault(f"{totals['jobs']} jobs, {totals['solved']} solved, {totals['polls']} polls of {jobs}; see {folder}")
    with (folder / "results.csv").open("rb") as results:
        if (lines := sum(1 for _ in results)) != jobs + 1:
            raise Fault(f"{lines} lines for {jobs} results; see {folder}")
    late = json.loads((folder / "summary.json").read_text())["polls_late_ms"]
    found = InFlight(jobs, totals["most_in_flight"], usage, 2 * jobs, late["p50"], late["p99"])
    say(f"in flight {jobs:9,} (most {found.most_in_flight:,}): {usage.cpu_s / jobs * 1e6:.1f} µs/job, "
        f"{usage.peak_rss_mib:.1f} MiB, late p99 {found.late_p99_ms} ms, {usage.wall_s:.1f} s")
    return found


def again(place: Place, jobs: int) -> tuple[int, Usage, Usage]:
    """A finished run, started again: everything is read and compared, and there is nothing to do. And the floor under that."""
    folder = place.work / f"in-flight-{jobs}"
    if not (folder / "results.csv").exists():
        in_flight(place, jobs)
    # Jobs of another service would be another run's; nothing is asked of this one but its balance.
    with Simulator(place.binaries / "pollwheel", folder, 0, "0s") as simulator:
        usage = run(command(place, folder, simulator.url, jobs, 1000), folder / "again.log", 600, TOKEN)
        if (sent := simulator.totals()["creates"]) != 0:
            raise Fault(f"a finished run created {sent} jobs when it was started again")
    floor = run([str(place.binaries / "bare"), "check", str(folder / "requests.csv")], folder / "floor.log", 600)
    say(f"again {jobs:,}: {usage.wall_s:.2f} s, {usage.cpu_s:.2f} s CPU, {usage.peak_rss_mib:.1f} MiB; floor {floor.cpu_s:.2f} s CPU")
    return jobs, usage, floor


def poll_rates(place: Place) -> list[PollRate]:
    """The highest rate, and the lateness at parts of it."""
    highest = poll_rate(place, 2000, 10)
    found = [highest]
    for part in (0.3, 0.5, 0.7, 0.9):
        jobs = 20_000
        # An interval is on average a twentieth longer than it was asked for.
        interval_ms = round(jobs / (highest.polls_per_s * part) / 1.05 * 1000)
        found.append(poll_rate(place, jobs, interval_ms))
    return found


def poll_rate(place: Place, jobs: int, interval_ms: int) -> PollRate:
    """Polls jobs that never end, and is told to stop."""
    folder = place.folder(f"polls-{interval_ms}")
    write_rows(folder / "requests.csv", jobs)
    with Simulator(place.binaries / "pollwheel", folder, FOR_EVER_MS, "0s") as simulator:
        argv = command(place, folder, simulator.url, jobs, interval_ms, "2000/s")
        log = folder / "contestant.log"
        with log.open("w") as stream:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, env=environment(TOKEN))
        try:
            created = fill(process, simulator, jobs, log)
            before = snapshot(process.pid, simulator)
            time.sleep(40)
            after = snapshot(process.pid, simulator)
            process.send_signal(signal.SIGTERM)
            process.wait(60)
        finally:
            process.kill()
            process.wait()
    seconds, polls, core, simulator_core = (b - a for a, b in zip(before, after))
    late = json.loads((folder / "summary.json").read_text())["polls_late_ms"]
    found = PollRate(created, interval_ms, polls / seconds, core / seconds, simulator_core / seconds, late["p50"], late["p99"])
    say(f"polls {found.polls_per_s:,.0f}/s of {created:,} jobs: {found.core * 100:.0f} % of a core, simulator {found.simulator_core * 100:.0f} %, "
        f"late p50 {found.late_p50_ms} p99 {found.late_p99_ms} ms")
    return found


def fill(process: subprocess.Popen, simulator: Simulator, jobs: int, log: Path) -> int:
    """Waits until all jobs are created, or no more are: polls that are due go before creates, and may leave no room for them."""
    created, since = 0, time.monotonic()
    while created < jobs and time.monotonic() - since < 5:
        if process.poll() is not None:
            raise Fault(f"it ended{tail(log)}")
        time.sleep(0.1)
        if (now := simulator.totals()["jobs"]) > created:
            created, since = now, time.monotonic()
    return created


def snapshot(pid: int, simulator: Simulator) -> tuple[float, float, float, float]:
    """The time, polls so far, CPU so far of the process and of the simulator."""
    return time.monotonic(), simulator.totals()["polls"], cpu_s(pid), simulator.server.cpu_s()


def check(place: Place, rows: int) -> Check:
    """`check` of a file beside the least that a check does; three times in turn, the medians."""
    folder = place.folder(f"check-{rows}")
    path = folder / "requests.csv"
    write_rows(path, rows)
    ours_argv = [str(place.binaries / "pollwheel"), "check", str(path), "--job", "hcaptcha", "--authorized-site", SITE]
    floor_argv = [str(place.binaries / "bare"), "check", str(path)]
    ours, floor = [], []
    for _ in range(3):
        ours.append(run(ours_argv, folder / "check.log", 300, TOKEN))
        floor.append(run(floor_argv, folder / "floor.log", 300))
    shutil.rmtree(folder)
    middle = lambda usages: sorted(usages, key=lambda used: used.cpu_s)[1]
    found = Check(rows, middle(ours), middle(floor))
    say(f"check {rows:10,}: {found.ours.cpu_s:.3f} s CPU, {found.ours.peak_rss_mib:.1f} MiB; floor {found.floor.cpu_s:.3f} s CPU, {found.floor.peak_rss_mib:.1f} MiB")
    return found
