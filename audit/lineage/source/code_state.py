"""Which code ran: the source text of the caller, and the commit of the repository it lies in.

Local; whatever fails gives None: a run is recorded outside of repositories too. The repository is
asked again only after a while: a pipeline of many small components must not wait for git each time.
"""

import inspect
import os
import re
import subprocess
import time
from functools import lru_cache
from pathlib import Path
from types import CodeType
from typing import NamedTuple

GIT_TIME_LIMIT_S = 5
MAX_TEXT_BYTES = 16 << 20
"""Source texts longer than this are not kept."""
ASKED_AGAIN_S = 10
"""How long what git said about a repository is taken as still true."""

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


class CodeState(NamedTuple):
    """`source`: the text of the whole file or cell. `commit`: 40 (or 64) hex digits.

    `dirty`: whether tracked files differ from the commit, or the running file is not tracked at
    all, so that the commit does not hold it; None when that is not known.
    """

    source: bytes | None
    commit: str | None
    dirty: bool | None


def code_state(code: CodeType) -> CodeState:
    """The state of the code that is running."""
    commit, dirty = _repository(code.co_filename, int(time.monotonic() // ASKED_AGAIN_S))
    return CodeState(_source(code), commit, dirty)


def _source(code: CodeType) -> bytes | None:
    try:
        text = "".join(inspect.findsource(code)[0]).encode("utf-8", "surrogatepass")
    except (OSError, TypeError, IndexError):
        return None
    return text if len(text) <= MAX_TEXT_BYTES else None


@lru_cache(maxsize=64)
def _repository(filename: str, period: int) -> tuple[str | None, bool | None]:
    """`period` has no meaning but to ask again in another one."""
    path = Path(filename)
    folder = path.parent
    if not path.is_file():
        return None, None
    commit = _git(folder, "rev-parse", "--verify", "HEAD")
    if commit is None or not _COMMIT.fullmatch(commit.strip()):
        return None, None
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    if changes is None:
        return commit.strip(), None
    tracked = _git(folder, "ls-files", "--error-unmatch", "--", path.name) is not None
    return commit.strip(), bool(changes.strip()) or not tracked


def _git(folder: Path, *arguments: str) -> str | None:
    # Without optional locks git does not write into the repository it looks at; without a file
    # system monitor it does not run what the repository's settings name.
    command = ["git", "--no-optional-locks", "-c", "core.fsmonitor=false", "-C", str(folder)]
    try:
        done = subprocess.run(
            [*command, *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=GIT_TIME_LIMIT_S,
            env={**os.environ, "GIT_TERMINAL_PROMPT": "0"},
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None
