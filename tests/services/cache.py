"""Programs that Maven brings, kept in a cache folder outside the tree."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Literal

from tests.services.process import Unobtainable

HERE = Path(__file__).resolve().parent
COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.7.1:copy-dependencies"
MAVEN_LIMIT_S = 600
STALE_S = 3600
"""A folder half filled this long ago belongs to a run that was killed."""
MANIFEST = "manifest.json"


def cache_folder() -> Path:
    """Where they are kept; several runs and checkouts share it."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "attestory-tests"


def version_of(pom: str) -> str:
    """The version of the service that a pom in this folder asks for."""
    found = re.search(r"<service\.version>([^<]+)<", (HERE / pom).read_text())
    assert found, f"{pom} names no service.version"
    return found[1]


def cached(name: str, fill: Callable[[Path], None]) -> Path:
    """The folder `name` of the cache, made by `fill` if it is not there whole.

    It is filled under another name and renamed: what stands under its own name is complete, two
    runs at once do no harm, and a run killed half-way leaves nothing that a later one would use.
    """
    root = cache_folder()
    final = root / name
    if _is_whole(final):
        return final
    root.mkdir(parents=True, exist_ok=True)
    for old in root.glob(".part.*"):
        with contextlib.suppress(OSError):
            if time.time() - old.stat().st_mtime > STALE_S:
                shutil.rmtree(old, ignore_errors=True)
    part = Path(tempfile.mkdtemp(prefix=f".part.{name}.", dir=root))
    try:
        fill(part)
        sizes = {
            str(path.relative_to(part)): path.stat().st_size
            for path in part.rglob("*")
            if path.is_file()
        }
        (part / MANIFEST).write_text(json.dumps(sizes))
        part.chmod(0o755)
        if final.exists() and not _is_whole(final):
            final.rename(part.with_name(part.name + ".damaged"))
        try:
            part.rename(final)
        except OSError:
            if not _is_whole(final):  # else another run was first
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(part.with_name(part.name + ".damaged"), ignore_errors=True)
    return final


def _is_whole(folder: Path) -> bool:
    try:
        sizes = json.loads((folder / MANIFEST).read_text())
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


def maven_copy(pom: str, into: Path, **properties: str) -> None:
    """Have Maven copy what the pom depends on into a folder. Raises Unobtainable if it cannot."""
    maven = shutil.which("mvn")
    if maven is None:
        raise Unobtainable("no mvn (Debian: apt install maven)")
    command = [maven, "-q", "-B", "-f", str(HERE / pom), COPY, "-DincludeScope=runtime"]
    command += [f"-DoutputDirectory={into}", *(f"-D{k}={v}" for k, v in properties.items())]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=MAVEN_LIMIT_S)
    except subprocess.TimeoutExpired:
        raise Unobtainable(f"mvn took longer than {MAVEN_LIMIT_S} s for {pom}") from None
    if done.returncode or not any(into.iterdir()):
        lines = [line for line in done.stdout.splitlines() if "ERROR" in line]
        reason = lines[0].strip()[:300] if lines else f"exit code {done.returncode}"
        raise Unobtainable(f"mvn could not bring {pom}: {reason}")


def unpack(packed: IO[bytes], mode: Literal["r|gz", "r|xz"], into: Path) -> None:
    """Unpack a tar archive; nothing of it may lie outside the folder."""
    with tarfile.open(fileobj=packed, mode=mode) as tar:
        if hasattr(tarfile, "data_filter"):
            tar.extractall(into, filter="data")
        else:  # Python 3.11 before 3.11.4; these archives come from a repository that checks them
            tar.extractall(into)
