"""The release binaries, and where things are."""

import os
import shutil
import subprocess
import tomllib
from pathlib import Path

from .process import Fault

BENCH = Path(__file__).resolve().parent.parent
ROOT = BENCH.parent


def build() -> Path:
    """A folder with both binaries. One command builds them, so that they stand on the same crates with the same features;
    they are copied, so that a build in the middle of a measurement changes nothing."""
    ours, theirs = (dependency(folder / "Cargo.toml", "reqwest") for folder in (ROOT, BENCH / "bare"))
    if ours != theirs:
        raise Fault(f"bench/bare/Cargo.toml has another reqwest than pollwheel: {theirs} instead of {ours}")
    argv = ["cargo", "build", "--release", "--workspace", "--bins", "--locked", "--quiet"]
    if subprocess.run(argv, cwd=ROOT).returncode != 0:
        raise Fault("the build failed")
    built = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
    copies = BENCH / ".work" / "bin"
    copies.mkdir(parents=True, exist_ok=True)
    for name in ("pollwheel", "bare"):
        (copies / name).unlink(missing_ok=True)
        shutil.copy(built / name, copies)
    return copies


def dependency(manifest: Path, crate: str) -> object:
    return tomllib.loads(manifest.read_text())["dependencies"][crate]
