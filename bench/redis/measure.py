#!/usr/bin/env python3
"""What a queue's jobs cost: round trips to Redis, CPU of worker and server, jobs a second.

Needs redis-server and a release build. One line of figures for a run; `--help` tells what can be set.
Round trips are reads at the server (INFO, total_reads_processed), ours and the bell's taken together.
"""

import argparse
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

TICK = os.sysconf("SC_CLK_TCK")
LIST, RESULTS = "solve:requests", "solve:results"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Redis:
    """A few commands, spoken by hand."""

    def __init__(self, port):
        self.s = socket.create_connection(("127.0.0.1", port))
        self.f = self.s.makefile("rb")

    def __call__(self, *words):
        out = [b"*%d\r\n" % len(words)]
        for w in words:
            w = w if isinstance(w, bytes) else str(w).encode()
            out.append(b"$%d\r\n%s\r\n" % (len(w), w))
        self.s.sendall(b"".join(out))
        return self.read()

    def read(self):
        line = self.f.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b":":
            return int(rest)
        if kind == b"$":
            if rest == b"-1":
                return None
            data = self.f.read(int(rest) + 2)
            return data[:-2]
        if kind == b"*":
            return [self.read() for _ in range(int(rest))]
        if kind == b"-":
            raise RuntimeError(rest)
        return rest

    def info(self, section):
        text = self("INFO", section).decode()
        return dict(l.split(":", 1) for l in text.splitlines() if ":" in l)


class Proxy(threading.Thread):
    """Passes TCP on, each byte half a round trip later."""

    def __init__(self, to, rtt):
        super().__init__(daemon=True)
        self.to, self.delay = to, rtt / 2
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]

    def run(self):
        while True:
            a, _ = self.listener.accept()
            b = socket.create_connection(("127.0.0.1", self.to))
            for s in (a, b):
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.pipe(a, b)
            self.pipe(b, a)

    def pipe(self, src, dst):
        import queue

        line = queue.Queue()

        def take():
            while True:
                try:
                    data = src.recv(1 << 16)
                except OSError:
                    data = b""
                line.put((time.monotonic() + self.delay, data))
                if not data:
                    return

        def give():
            while True:
                at, data = line.get()
                left = at - time.monotonic()
                if left > 0:
                    time.sleep(left)
                try:
                    if not data:
                        dst.shutdown(socket.SHUT_WR)
                        return
                    dst.sendall(data)
                except OSError:
                    return

        threading.Thread(target=take, daemon=True).start()
        threading.Thread(target=give, daemon=True).start()


def cpu(path):
    text = pathlib.Path(path).read_text()
    fields = text[text.rindex(")") + 2 :].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def ns_of_thread(pid, tid):
    return int(pathlib.Path(f"/proc/{pid}/task/{tid}/schedstat").read_text().split()[0]) / 1e9


def threads(pid):
    found = {}
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        name = (task / "comm").read_text().strip()
        found[name] = found.get(name, 0) + ns_of_thread(pid, task.name)
    return found


def request(n):
    return (
        '{"id":"order-%d","job":"hcaptcha","website_url":"https://shop.example.com/login?step=%d",'
        '"website_key":"10000000-ffff-ffff-ffff-000000000001"}' % (n, n)
    ).encode()


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--binary", type=lambda path: pathlib.Path(path).resolve(), default=pathlib.Path(__file__).resolve().parents[2] / "target/release/pollwheel")
    p.add_argument("--jobs", type=int, default=20000)
    p.add_argument("--workers", type=int, default=1)
    p.add_argument("--rate", default="100000/s", help="--submit-rate of the fleet")
    p.add_argument("--fsync", default="everysec")
    p.add_argument("--rtt", type=float, default=0, help="ms, by a proxy")
    p.add_argument("--solve-time", default="500ms")
    p.add_argument("--poll-interval", default="200ms")
    p.add_argument("--in-flight", default="4000")
    p.add_argument("--connections", default="64")
    p.add_argument("--feed", type=float, default=0, help="messages a second, pushed one by one; 0: all at once, before the start")
    p.add_argument("--seconds", type=float, default=0, help="measure for so long, not until all is done")
    p.add_argument("--perf", help="record the first worker's (or --perf-server: Redis') profile to this file")
    p.add_argument("--perf-server", action="store_true")
    p.add_argument("--scripts", action="store_true", help="show INFO commandstats")
    p.add_argument("--warm", type=float, default=0, help="seconds before measuring starts")
    p.add_argument("--label", default="")
    p.add_argument("worker_args", nargs="*")
    a = p.parse_args()

    folder = tempfile.TemporaryDirectory(prefix="measure-")
    port = free_port()
    server = subprocess.Popen(
        ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--dir", folder.name, "--save", "",
         "--appendonly", "yes", "--appendfsync", a.fsync, "--maxmemory-policy", "noeviction", "--auto-aof-rewrite-percentage", "0"],
        stdout=subprocess.DEVNULL)
    children = [server]
    try:
        for _ in range(200):
            try:
                r = Redis(port)
                break
            except OSError:
                time.sleep(0.02)
        sim = subprocess.Popen(
            [a.binary, "simulate", "--plain", "--latency", "0ms", "--solve-time", a.solve_time],
            stdout=subprocess.PIPE, text=True)
        children.append(sim)
        url = sim.stdout.readline().strip()
        reach = port
        if a.rtt:
            proxy = Proxy(port, a.rtt / 1000)
            proxy.start()
            reach = proxy.port

        def push(numbers):
            numbers = list(numbers)
            for at in range(0, len(numbers), 500):
                r("LPUSH", LIST, *[request(n) for n in numbers[at : at + 500]])

        if not a.feed:
            push(range(a.jobs))
        workers = []
        for _ in range(a.workers):
            w = subprocess.Popen(
                [a.binary, "work", "-q", "--from", f"redis:{LIST}", "--to", f"redis:{RESULTS}",
                 "--redis-url", f"redis://127.0.0.1:{reach}", "--base-url", url,
                 "--authorized-site", "*.example.com", "--submit-rate", a.rate,
                 "--poll-interval", a.poll_interval, "--max-in-flight", a.in_flight,
                 "--max-connections", a.connections, *a.worker_args],
                cwd=folder.name, env={**os.environ, "POLLWHEEL_API_TOKEN": "t-1"})
            children.append(w)
            workers.append(w)

        def creates():
            return int(r("HGET", f"pollwheel:{{{LIST}}}:{LIST}:meta", "creates") or 0)

        while a.feed and (r("ZCARD", f"pollwheel:{{{LIST}}}:{LIST}:workers") or 0) < a.workers:
            time.sleep(0.01)
        feeding = None
        if a.feed:
            def feed():
                own = Redis(port)
                start = time.monotonic()
                for n in range(a.jobs):
                    left = start + n / a.feed - time.monotonic()
                    if left > 0:
                        time.sleep(left)
                    own("LPUSH", LIST, request(n))
            feeding = threading.Thread(target=feed, daemon=True)
            feeding.start()
        if a.warm:
            time.sleep(a.warm)
        else:
            while creates() == 0:
                time.sleep(0.005)
        perf = None
        if a.perf:
            pid = server.pid if a.perf_server else workers[0].pid
            perf = subprocess.Popen(["perf", "record", "-q", "-F", "1999", "-e", "cpu-clock", "-g", "--call-graph", "dwarf,16384" if not a.perf_server else "fp", "-p", str(pid), "-o", a.perf], stderr=subprocess.DEVNULL)

        def state():
            info = r.info("all")
            return {
                "t": time.monotonic(),
                "reads": int(info["total_reads_processed"]), "writes": int(info["total_writes_processed"]),
                "commands": int(info["total_commands_processed"]),
                "in": int(info["total_net_input_bytes"]), "out": int(info["total_net_output_bytes"]),
                "evals": int(re.match(r"calls=(\d+)", info.get("cmdstat_evalsha", "calls=0")).group(1)),
                "eval_us": int(re.search(r"usec=(\d+)", info.get("cmdstat_evalsha", "usec=0")).group(1)),
                "server": cpu(f"/proc/{server.pid}/stat"),
                "server_main": ns_of_thread(server.pid, server.pid),
                "workers": [cpu(f"/proc/{w.pid}/stat") for w in workers],
                "threads": [threads(w.pid) for w in workers],
                "sim": cpu(f"/proc/{sim.pid}/stat"),
                "done": r("LLEN", RESULTS),
                "creates": creates(),
            }

        looks = 0
        r("CONFIG", "RESETSTAT")
        before = state()
        if a.seconds:
            time.sleep(a.seconds)
        else:
            while True:
                looks += 1
                if r("LLEN", RESULTS) >= a.jobs:
                    break
                time.sleep(0.05)
        after = state()
        stats = r.info("commandstats") if a.scripts else {}
        if perf:
            perf.send_signal(signal.SIGINT)
            perf.wait()
        meta = r("HGETALL", f"pollwheel:{{{LIST}}}:{LIST}:meta")
        meta = {meta[i].decode(): meta[i + 1].decode() for i in range(0, len(meta), 2)}
        # Reads of our own: one for each look, those of the second state, and one for each message that was fed.
        d = {k: after[k] - before[k] for k in ("t", "reads", "writes", "commands", "in", "out", "evals", "eval_us", "server", "server_main", "sim", "done", "creates")}
        d["reads"] -= looks + 3 + (d["done"] if a.feed else 0)
        jobs = max(d["done"], 1)
        worker_cpu = sum(x - y for x, y in zip(after["workers"], before["workers"]))
        names = sorted({n for t in after["threads"] for n in t})
        by_thread = {n: sum(x.get(n, 0) - y.get(n, 0) for x, y in zip(after["threads"], before["threads"])) for n in names}
        out = {
            "label": a.label or None, "workers": a.workers, "rate": a.rate, "fsync": a.fsync, "rtt_ms": a.rtt, "jobs": d["done"],
            "seconds": round(d["t"], 2), "jobs_per_s": round(jobs / d["t"], 1), "creates_per_s": round(d["creates"] / d["t"], 1),
            "polls_per_job": round(int(meta.get("polls", 0)) / max(1, after["done"]), 2),
            "round_trips_per_job": round(d["reads"] / jobs, 3), "scripts_per_job": round(d["evals"] / jobs, 3),
            "commands_per_job": round(d["commands"] / jobs, 2),
            "bytes_in_per_job": round(d["in"] / jobs), "bytes_out_per_job": round(d["out"] / jobs),
            "server_us_per_job": round(d["server"] / jobs * 1e6, 1), "server_main_us_per_job": round(d["server_main"] / jobs * 1e6, 1),
            "script_us_per_job": round(d["eval_us"] / jobs, 1),
            "worker_us_per_job": round(worker_cpu / jobs * 1e6, 1), "jobs_per_core_s": round(jobs / max(worker_cpu, 1e-9)),
            "threads_us_per_job": {n: round(c / jobs * 1e6, 1) for n, c in by_thread.items()},
            "sim_us_per_job": round(d["sim"] / jobs * 1e6, 1),
        }
        print(json.dumps({k: v for k, v in out.items() if v is not None}))
        for name, line in sorted(stats.items(), key=lambda kv: -int(re.search(r"usec=(\d+)", kv[1]).group(1))):
            calls, usec = re.search(r"calls=(\d+),usec=(\d+)", line).groups()
            print(f"  {name[8:]:20} {int(calls) / jobs:8.3f} calls a job {int(usec) / jobs:8.2f} us a job")
    finally:
        for child in reversed(children):
            child.terminate()
        for child in reversed(children):
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                child.kill()
        folder.cleanup()


if __name__ == "__main__":
    main()
