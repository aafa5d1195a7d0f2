"""Peers are installed once, beside the repository's own files, from pinned versions."""

import hashlib
import shutil
import sys
from pathlib import Path

from .process import Fault, prepare

BENCH = Path(__file__).resolve().parent.parent
INSTALLED = BENCH / ".peers"


def python() -> Path:
    """The interpreter of a venv with aiohttp and arq."""
    venv = INSTALLED / "python"
    program = venv / "bin" / "python"
    requirements = BENCH / "peers" / "python" / "requirements.txt"

    def install(log: Path) -> None:
        prepare([sys.executable, "-m", "venv", "--clear", venv], log)
        prepare([program, "-m", "pip", "install", "--quiet", "--no-input", "-r", requirements], log)

    install_once(venv, [requirements], install)
    return program


def node() -> Path:
    """A folder with BullMQ, undici, and the peer's programs, which have to lie beside them."""
    program = shutil.which("npm")
    if not program or not shutil.which("node"):
        raise Fault("node and npm are missing: install Node.js, 20 or later")
    folder = INSTALLED / "bullmq"
    source = BENCH / "peers" / "bullmq"
    pinned = [source / "package.json", source / "package-lock.json"]

    def install(log: Path) -> None:
        folder.mkdir(parents=True)
        for file in pinned:
            shutil.copy(file, folder)
        prepare([program, "ci", "--no-audit", "--no-fund", "--loglevel=error"], log, cwd=folder)

    install_once(folder, pinned, install)
    for file in source.glob("*.mjs"):
        shutil.copy(file, folder)
    return folder


def install_once(folder: Path, pinned: list[Path], install) -> None:
    """Installs anew where what is pinned has changed."""
    wanted = hashlib.sha256(b"".join(file.read_bytes() for file in pinned)).hexdigest()
    stamp = folder.with_suffix(".stamp")
    if stamp.exists() and stamp.read_text() == wanted:
        return
    INSTALLED.mkdir(exist_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    stamp.unlink(missing_ok=True)
    print(f"installing {folder.name} …", file=sys.stderr, flush=True)
    install(folder.with_suffix(".log"))
    stamp.write_text(wanted)
