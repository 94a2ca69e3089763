"""Files that commands write, and the progress that a terminal sees."""

import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from audit.cli.files import new_file, write_file
from audit.cli.progress import Progress
from tests.cli.conftest import Cli


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "out"
    write_file(str(path), b"old")
    with pytest.raises(RuntimeError), new_file(str(path)) as file:
        file.write(b"half")
        raise RuntimeError
    assert path.read_bytes() == b"old"
    write_file(str(path), b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    write_file(str(tmp_path / "link"), b"new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_bytes() == b"new"


def test_a_named_pipe_is_written_directly(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write_file(str(pipe), b"data")
    reader.join()
    assert read == [b"data"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_a_full_disk_is_told(user: Cli, form: str) -> None:
    ran = user("replay", "user", "--as-of", "6", "-o", "/dev/full", "--format", form, code=3)
    assert "full" in ran.err


def test_a_dash_is_stdout(user: Cli, ledger_dir: Path) -> None:
    assert user("prove", "5", "-o", "-").out == user("prove", "5").out != ""
    said = user("replay", "user", "--as-of", "6", "-o", "-", "--format", "csv")
    assert said.out.splitlines()[0] == "entity_key,dpt,name"
    user("bundle", "entity:user", "-o", "-", "--json", code=2)
    assert not (ledger_dir / "-").exists()


def test_a_bundle_on_stdout_is_the_same_as_in_a_file(user: Cli, ledger_dir: Path) -> None:
    user("bundle", "entity:user", "-o", "file.zip")
    with (ledger_dir / "stdout.zip").open("wb") as out:
        run = [sys.executable, "-m", "audit", "bundle", "entity:user", "-o", "-"]
        subprocess.run(run, stdout=out, cwd=ledger_dir, check=True, capture_output=False)
    assert (ledger_dir / "stdout.zip").read_bytes() == (ledger_dir / "file.zip").read_bytes()


def test_errors_name_the_file_that_was_asked_for(user: Cli) -> None:
    said = user("prove", "5", "-o", "none/receipt", code=3).err
    assert said == "error: cannot use none/receipt: No such file or directory\n"


def test_progress_shows_on_a_terminal_and_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr("audit.cli.progress.SECONDS_BETWEEN", 0.0)
    with Progress("checking", "entries") as progress:
        progress(500, 1000)
        progress(7, 0)
    shown = terminal.getvalue()
    assert "checking [###############...............] 500 of 1,000 entries" in shown
    assert "checking 7 entries" in shown
    assert shown.endswith("\r\x1b[K")


def test_progress_is_silent_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = io.StringIO()
    monkeypatch.setattr("sys.stderr", pipe)
    monkeypatch.setattr("audit.cli.progress.SECONDS_BETWEEN", 0.0)
    with Progress("checking", "entries") as progress:
        progress(500, 1000)
    assert pipe.getvalue() == ""


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="no /proc here")
def test_a_place_where_nothing_can_be_written(cli: Cli) -> None:
    for args in (("init",), ("emit", "create", "user", "5", "{}")):
        assert "/proc" in cli(*args, "--store", "sqlite:////proc/audit.db", code=3).err
