"""Processes and what the operating system says they used.

A contestant's CPU is what `wait4` returns: all its threads, and the children that it waited for. Its peak memory is
`VmHWM`, looked at every 20 ms while it runs: `ru_maxrss` would begin with that of the process that forked it.
"""

import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

TICK_S = 1 / os.sysconf("SC_CLK_TCK")


class Fault(Exception):
    """The measurement is worth nothing: it is ended with this."""


class Disturbed(Fault):
    """The machine was too busy for an even comparison: worth trying again."""


@dataclass
class Usage:
    user_s: float
    system_s: float
    peak_rss_mib: float
    wall_s: float

    @property
    def cpu_s(self) -> float:
        return self.user_s + self.system_s


def run(argv: list[str], log: Path, timeout_s: float, env: dict[str, str] | None = None) -> Usage:
    """Runs a contestant to its end. It has to exit with 0, and in time."""
    with log.open("w") as stream:
        begun = time.monotonic()
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, env=environment(env))
    peak_kib = 0
    while True:
        pid, status, used = os.wait4(process.pid, os.WNOHANG)
        wall = time.monotonic() - begun
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            break
        if wall > timeout_s:
            process.kill()
            os.wait4(process.pid, 0)
            process.returncode = -signal.SIGKILL
            raise Fault(f"{argv[0]} did not end within {timeout_s:.0f} s{tail(log)}")
        peak_kib = max(peak_kib, high_water_kib(process.pid))
        time.sleep(0.02)
    if process.returncode != 0:
        raise Fault(f"{' '.join(argv)} ended with {process.returncode}{tail(log)}")
    return Usage(used.ru_utime, used.ru_stime, peak_kib / 1024, wall)


def prepare(argv: list[str], log: Path, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Runs what is not measured, and gives its output."""
    with log.open("w") as stream:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stream, cwd=cwd, env=environment(env))
    if done.returncode != 0:
        raise Fault(f"{' '.join(map(str, argv))} ended with {done.returncode}{tail(log)}")
    return done.stdout.decode()


def environment(more: dict[str, str] | None) -> dict[str, str]:
    """The caller's, without pollwheel's own variables, which would change what is measured."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("POLLWHEEL_")}
    return kept | (more or {})


def tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-15:]
    return "".join(f"\n  | {line}" for line in lines)


def cpu_s(pid: int) -> float:
    """Used since it was started, by all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


def high_water_kib(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("VmHWM")), 0)


class Server:
    """A server beside the contestant: started before, stopped after, its CPU read in between."""

    def __init__(self, argv: list[str], log: Path, env: dict[str, str] | None = None, out: Path | None = None):
        self.log = log
        with log.open("w") as stream, (out or log).open("a") as output:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=stream, env=environment(env))

    def cpu_s(self) -> float:
        return cpu_s(self.process.pid)

    def rss_mib(self) -> float:
        return high_water_kib(self.process.pid) / 1024

    def wait_until(self, ready, what: str):
        """What `ready` gives once it gives anything."""
        for _ in range(500):
            if self.process.poll() is not None:
                break
            if found := ready():
                return found
            time.sleep(0.02)
        raise Fault(f"{what} does not start{tail(self.log)}")

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
