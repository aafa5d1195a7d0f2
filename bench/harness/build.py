"""The release binaries, and where things are."""

import os
import subprocess
import tomllib
from pathlib import Path

from .process import Fault

BENCH = Path(__file__).resolve().parent.parent
ROOT = BENCH.parent


def build() -> Path:
    """The folder of both binaries. One command builds them, so that they stand on the same crates with the same features."""
    ours, theirs = (dependency(folder / "Cargo.toml", "reqwest") for folder in (ROOT, BENCH / "bare"))
    if ours != theirs:
        raise Fault(f"bench/bare/Cargo.toml has another reqwest than pollwheel: {theirs} instead of {ours}")
    argv = ["cargo", "build", "--release", "--workspace", "--bins", "--locked", "--quiet"]
    if subprocess.run(argv, cwd=ROOT).returncode != 0:
        raise Fault("the build failed")
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"


def dependency(manifest: Path, crate: str) -> object:
    return tomllib.loads(manifest.read_text())["dependencies"][crate]
