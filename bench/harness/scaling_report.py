"""The report of growth, and its plots."""

import os
import pickle
import platform
from dataclasses import dataclass, field
from pathlib import Path

from . import plot
from .growth import Check, InFlight, PollRate
from .process import Usage
from .results import table


@dataclass
class Found:
    in_flight: list[InFlight] = field(default_factory=list)
    polls: list[PollRate] = field(default_factory=list)
    check: list[Check] = field(default_factory=list)
    again: tuple[int, Usage, Usage] | None = None

    @classmethod
    def last(cls, folder: Path) -> "Found":
        """What was found before, so that a part can be measured anew."""
        kept = folder / "found.pickle"
        return pickle.loads(kept.read_bytes()) if kept.exists() else cls()

    def keep(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "found.pickle").write_bytes(pickle.dumps(self))


def report(found: Found) -> str:
    parts = [
        "# What it costs as it grows\n\nWritten by `bench/scaling`; [README.md](README.md) says what is measured.\n\n"
        f"{os.cpu_count()} cores ({platform.machine()}), Linux {platform.release().split('-')[0]}; average load of the machine in the quarter of an "
        f"hour before: {os.getloadavg()[2]:.1f}. The simulator runs beside pollwheel and answers at once. Where others use the machine, lateness is theirs as well.\n\n![plots](SCALING.svg)"
    ]
    if found.in_flight:
        parts.append(in_flight(found.in_flight))
    if found.polls:
        parts.append(polls(found.polls))
    if found.check:
        parts.append(check(found.check))
    if found.again:
        parts.append(again(*found.again))
    return "\n\n".join(parts) + "\n"


def in_flight(found: list[InFlight]) -> str:
    base = found[0]
    rows = []
    for it in found:
        grown = it.usage.peak_rss_mib - base.usage.peak_rss_mib
        per_job = f"{grown * 1024 * 1024 / (it.jobs - base.jobs):,.0f}" if it is not base else "–"
        rows.append([
            f"{it.jobs:,}", f"{it.most_in_flight:,}", f"{it.usage.cpu_s / it.jobs * 1e6:,.1f}", f"{it.usage.cpu_s / it.exchanges * 1e6:,.1f}",
            f"{it.usage.peak_rss_mib:,.1f}", per_job, f"{it.late_p50_ms:.1f}", f"{it.late_p99_ms:.1f}", f"{it.usage.wall_s:,.0f}",
        ])
    head = ["jobs", "most in flight", "CPU µs per job", "per exchange", "peak RSS MiB", "bytes per job", "polls late, p50 ms", "p99 ms", "wall s"]
    return (
        "## Jobs in flight\n\nCSV to CSV with its journal, in one process: all jobs are created as fast as they can be recorded, wait, are polled once, and "
        "are done: two exchanges a job. The smallest run also pays for the start of the process. Polls come due as quickly as the jobs were created, which is more quickly than their "
        "outcomes can be made durable, so that in the large runs they are late by as much; lateness at a rate that can be kept up is below.\n\n" + table(head, rows)
    )


def polls(found: list[PollRate]) -> str:
    highest = found[0].polls_per_s
    rows = [
        [f"{it.polls_per_s:,.0f} ({it.polls_per_s / highest:.0%})", f"{it.jobs:,}", f"{it.interval_ms:,}", f"{it.core / it.polls_per_s * 1e6:.1f}",
         f"{it.core:.0%}", f"{it.simulator_core:.0%}", f"{it.late_p50_ms:.1f}", f"{it.late_p99_ms:.1f}"]
        for it in found
    ]
    head = ["polls per s", "of jobs", "each every … ms", "CPU µs per poll", "pollwheel, of a core", "simulator, of a core", "late, p50 ms", "p99 ms"]
    return (
        "## Polls\n\nJobs that stay pending; one run creates them all, those that follow take them up from its journal, and poll. In the first line more polls are due than can be made: that is the highest "
        "rate, with 32 connections, and late without bound. Late is how long after it was due a poll left, from the start of the run, the taking up included.\n\n" + table(head, rows)
    )


def check(found: list[Check]) -> str:
    rows = [
        [f"{it.rows:,}", f"{it.ours.cpu_s:,.2f}", f"{it.floor.cpu_s:,.2f}", f"{it.ours.cpu_s / it.floor.cpu_s:.2f}",
         f"{it.ours.cpu_s / it.rows * 1e9:,.0f}", f"{it.ours.wall_s:,.2f}", rss(it.ours), rss(it.floor)]
        for it in found
    ]
    head = ["rows", "CPU s", "floor's CPU s", "× floor", "CPU ns per row", "wall s", "peak RSS MiB", "floor's"]
    return (
        "## `check`\n\nBeside the least that such a program does (`bare check`): the csv crate's reader, a parsed URL a row, a set of 64-bit hashes of the ids. "
        "`check` also holds each site against the list and each field against its kind, and says where every fault is. Medians of three.\n\n" + table(head, rows)
    )


def rss(usage: Usage) -> str:
    """Of a process that was too short to be looked at, nothing is known."""
    return f"{usage.peak_rss_mib:,.1f}" if usage.peak_rss_mib else "–"


def again(jobs: int, ours: Usage, floor: Usage) -> str:
    rows = [
        ["started again", f"{ours.cpu_s:.2f}", f"{ours.wall_s:.2f}", f"{ours.peak_rss_mib:.1f}"],
        ["floor: `bare check` of the input", f"{floor.cpu_s:.2f}", f"{floor.wall_s:.2f}", f"{floor.peak_rss_mib:.1f}"],
    ]
    return f"## A finished run of {jobs:,} rows, started again\n\n" + table(["", "CPU s", "wall s", "peak RSS MiB"], rows)


def plotted(found: Found) -> str:
    panels = []
    if jobs := found.in_flight:
        costs = [plot.Line("per job", [(it.jobs, it.usage.cpu_s / it.jobs * 1e6) for it in jobs])]
        costs.append(plot.Line("per exchange", [(it.jobs, it.usage.cpu_s / it.exchanges * 1e6) for it in jobs]))
        panels.append(("CPU µs", "jobs in flight", costs, False))
        panels.append(("Peak RSS, MiB", "jobs in flight", [plot.Line("pollwheel", [(it.jobs, it.usage.peak_rss_mib) for it in jobs])], True))
    if len(found.polls) > 1:
        paced = sorted(found.polls[1:], key=lambda it: it.polls_per_s)
        late = [plot.Line("p50", [(it.polls_per_s, max(it.late_p50_ms, 0.01)) for it in paced]),
                plot.Line("p99", [(it.polls_per_s, max(it.late_p99_ms, 0.01)) for it in paced])]
        panels.append(("Polls late, ms", "polls per s", late, True))
    if rows := found.check:
        cost = [plot.Line("check", [(it.rows, it.ours.cpu_s / it.rows * 1e9) for it in rows]),
                plot.Line("floor", [(it.rows, it.floor.cpu_s / it.rows * 1e9) for it in rows])]
        memory = [plot.Line(name, [(it.rows, used.peak_rss_mib) for it in rows if (used := of(it)).peak_rss_mib])
                  for name, of in (("check", lambda it: it.ours), ("floor", lambda it: it.floor))]
        panels.append(("check: CPU ns per row", "rows", cost, False))
        panels.append(("check: peak RSS, MiB", "rows", memory, True))
    return plot.line_chart(panels)
