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
# Polls a second that two cores do not carry.
MORE_THAN_CAN_BE_MADE = 120_000
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


def command(place: Place, folder: Path, url: str, jobs: int, interval_ms: int) -> list[str]:
    return [
        str(place.binaries / "pollwheel"), "run", "--from", str(folder / "requests.csv"), "--to", str(folder / "results.csv"),
        "--job", "hcaptcha", "--base-url", url, "--authorized-site", SITE, "--jobs", str(write_kind(folder, interval_ms)),
        "--submit-rate", UNBOUND, "--max-in-flight", str(jobs), "--max-spend", "1000000",
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


def poll_rates(place: Place, jobs: int) -> list[PollRate]:
    """The highest rate of so many jobs that wait, and the lateness at parts of it."""
    folder = place.folder(f"polls-{jobs}")
    write_rows(folder / "requests.csv", jobs)
    with Simulator(place.binaries / "pollwheel", folder, FOR_EVER_MS, "0s") as simulator:
        polling = Polling(place, folder, simulator, jobs)
        polling.create_all()
        highest = polling.at(jobs * 1000 // MORE_THAN_CAN_BE_MADE)
        found = [highest]
        for part in (0.5, 0.7):
            # A tenth is added to an interval by chance, 200 ms at the most: half of that on average.
            interval_s = jobs / (highest.polls_per_s * part)
            interval_s -= min(0.1, interval_s / 21)
            found.append(polling.at(round(interval_s * 1000)))
    return found


@dataclass
class Polling:
    """Jobs that never end. A first run creates them all; those that follow find them in the journal, and poll."""

    place: Place
    folder: Path
    simulator: Simulator
    jobs: int

    def start(self, interval_ms: int) -> subprocess.Popen:
        argv = command(self.place, self.folder, self.simulator.url, self.jobs, interval_ms)
        with self.log().open("w") as stream:
            return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, env=environment(TOKEN))

    def log(self) -> Path:
        return self.folder / "contestant.log"

    def create_all(self) -> None:
        process = self.start(10 * 3_600_000)
        try:
            while self.simulator.totals()["jobs"] < self.jobs:
                if process.poll() is not None:
                    raise Fault(f"it ended{tail(self.log())}")
                time.sleep(1)
            # The last ids are to be recorded.
            time.sleep(1)
        finally:
            end(process)

    def at(self, interval_ms: int) -> PollRate:
        process = self.start(interval_ms)
        try:
            # They are taken up at some 20,000 a second, and polled an interval later.
            time.sleep(5 + self.jobs / 20_000 + 1.2 * interval_ms / 1000)
            before = snapshot(process.pid, self.simulator)
            time.sleep(40)
            after = snapshot(process.pid, self.simulator)
        finally:
            end(process)
        seconds, polls, core, simulator_core = (b - a for a, b in zip(before, after))
        late = json.loads((self.folder / "summary.json").read_text())["polls_late_ms"]
        found = PollRate(self.jobs, interval_ms, polls / seconds, core / seconds, simulator_core / seconds, late["p50"], late["p99"])
        say(f"polls {found.polls_per_s:,.0f}/s of {self.jobs:,} jobs: {found.core * 100:.0f} % of a core, simulator {found.simulator_core * 100:.0f} %, "
            f"late p50 {found.late_p50_ms} p99 {found.late_p99_ms} ms")
        return found


def end(process: subprocess.Popen) -> None:
    try:
        process.send_signal(signal.SIGTERM)
        process.wait(120)
    finally:
        process.kill()
        process.wait()


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
