#!/usr/bin/env python3
"""CPU of redis-server for each script, in microseconds an item: scripts_cost.py [BATCH] [REPETITIONS].

The least of the repetitions, by the server's own CPU time, so that other work on the machine matters less.
"""

import pathlib
import subprocess
import sys
import tempfile
import time

from measure import LIST, RESULTS, Redis, free_port, request

SCRIPTS = pathlib.Path(__file__).parents[2] / "src/backlog/redis/scripts"
PARTS = "inbox ready delayed lease job payload limit meta done dead orphan workers".split()
KEYS = [LIST] + [f"pollwheel:{{{LIST}}}:{LIST}:{part}" for part in PARTS]
WORKER = "3f0c0123456789ab3f0c0123456789ab-1"
API = "v1 http://127.0.0.1:34567 " + "0123456789abcdef" * 4
HASH = "0123456789abcdef" * 2


def main():
    batch = int(sys.argv[1]) if len(sys.argv) > 1 else 128
    repetitions = int(sys.argv[2]) if len(sys.argv) > 2 else 8
    port, folder = free_port(), tempfile.TemporaryDirectory()
    server = subprocess.Popen(
        ["redis-server", "--port", str(port), "--dir", folder.name, "--save", "", "--appendonly", "yes"],
        stdout=subprocess.DEVNULL)
    try:
        time.sleep(0.5)
        print(batch, measure(Redis(port), server.pid, batch, repetitions))
    finally:
        server.kill()
        server.wait()


def measure(redis, pid, batch, repetitions):
    common = (SCRIPTS / "common.lua").read_text()
    hashes = {
        name: redis("SCRIPT", "LOAD", "#!lua flags=allow-oom\n" + common + (SCRIPTS / f"{name}.lua").read_text())
        for name in ("claim", "admit", "begin", "created", "beat", "finish")}

    def call(name, arguments, targets=()):
        return redis("EVALSHA", hashes[name], len(KEYS) + len(targets), *KEYS, *targets, *arguments)

    def cpu_us():
        return int(pathlib.Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1000

    least = {}
    total = max(batch * 8, 1024) if batch > 1 else 600
    for repetition in range(repetitions):
        ids = [f"order-{repetition * total + n}" for n in range(total)]
        messages = [request(repetition * total + n) for n in range(total)]
        for at in range(0, total, 500):
            redis("LPUSH", LIST, *messages[at : at + 500])
        raws, epochs = [], []

        def claim(_):
            answer = call("claim", [30000, WORKER, batch, 0])[6:]
            raws.extend(answer[at : at + 4] for at in range(0, len(answer), 4))

        def admit(some):
            items = [x for n in some for x in (raws[n][0], raws[n][1], ids[n], HASH, raws[n][3], "")]
            epochs.extend(call("admit", [30000, WORKER, 600000, *items])[1::2])

        def begin(some):
            items = [x for n in some for x in (ids[n], epochs[n], 0, 550)]
            assert call("begin", [30000, WORKER, API, 1, 100000, 100000, "", *items])[0] == b"slot"

        def created(some):
            items = [x for n in some for x in (ids[n], epochs[n], 1, 1000000 + n, 1700000000123, 180000)]
            assert call("created", [30000, WORKER, API, *items])[0] == b"done"

        def beat(some):
            call("beat", [30000, WORKER, *(x for n in some for x in (ids[n], epochs[n], 1000000 + n))])

        def finish(some):
            items = [
                x for n in some
                for x in (ids[n], epochs[n], 1, 1000000 + n, 0, 3, 0, 0, "solved", 1, 0, "x" * 550, "", 0, 1)]
            assert call("finish", [600000, 1, *items], [RESULTS])[0] == b"done"

        for name, phase in dict(claim=claim, admit=admit, begin=begin, created=created, beat=beat, finish=finish).items():
            start = cpu_us()
            for at in range(0, total, batch):
                phase(range(at, min(at + batch, total)))
            least[name] = min(least.get(name, 1e9), (cpu_us() - start) / total)
        redis("DEL", RESULTS)
    whole = sum(us for name, us in least.items() if name != "beat")
    return {"a job": round(whole, 1)} | {name: round(us, 1) for name, us in least.items()}


main()
