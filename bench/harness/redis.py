"""A redis-server of our own, and as much of its protocol as the harness needs."""

import shutil
import socket
from pathlib import Path

from .process import Fault, Server


class Connection:
    """Speaks RESP2. Replies are bytes, ints, None and lists of them."""

    def __init__(self, port: int):
        self.socket = socket.create_connection(("127.0.0.1", port), 30)
        self.reader = self.socket.makefile("rb")

    def close(self) -> None:
        self.reader.close()
        self.socket.close()

    def __call__(self, *words):
        return self.pipeline([words])[0]

    def pipeline(self, commands: list[tuple]) -> list:
        self.socket.sendall(b"".join(map(encode, commands)))
        return [self.reply() for _ in commands]

    def reply(self):
        line = self.reader.readline()
        kind, rest = line[:1], line[1:-2]
        match kind:
            case b"+":
                return rest
            case b":":
                return int(rest)
            case b"-":
                raise Fault(f"redis: {rest.decode()}")
            case b"$":
                return None if rest == b"-1" else self.reader.read(int(rest) + 2)[:-2]
            case b"*":
                return None if rest == b"-1" else [self.reply() for _ in range(int(rest))]
            case _:
                raise Fault(f"redis: not a reply: {line!r}")

    def info(self) -> dict[str, str]:
        lines = self("INFO", "everything").decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)


def encode(words: tuple) -> bytes:
    parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


class Redis:
    """Durable as pollwheel asks for it, with an append-only file."""

    def __init__(self, folder: Path, fsync: str):
        program = shutil.which("redis-server")
        if not program:
            raise Fault("redis-server is missing: install redis, 7 or later")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        data = folder / "redis"
        data.mkdir()
        options = {
            "port": self.port, "bind": "127.0.0.1", "dir": data, "save": "", "appendonly": "yes",
            "appendfsync": fsync, "maxmemory-policy": "noeviction", "daemonize": "no",
        }
        argv = [program, *(str(word) for name, value in options.items() for word in (f"--{name}", value))]
        self.server = Server(argv, folder / "redis.log")
        self.url = f"redis://127.0.0.1:{self.port}"
        self.connection = self.server.wait_until(self.connect, "redis-server")

    def connect(self) -> Connection | None:
        try:
            connection = Connection(self.port)
            connection("PING")
            return connection
        except (OSError, Fault):
            return None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()
        self.server.stop()

    def counters(self) -> dict[str, float]:
        """Grow only. `reads` are what clients sent in one piece, so that a pipeline counts as one."""
        info = self.connection.info()
        return {
            "cpu_s": float(info["used_cpu_user"]) + float(info["used_cpu_sys"]),
            "reads": int(info["total_reads_processed"]),
            "commands": int(info["total_commands_processed"]),
        }
