"""`audit readmodel`, and what other commands say of the read model."""

import json
from pathlib import Path

import pytest

from audit.replay import fastpath
from tests.cli.conftest import Cli


def test_it_is_built_shown_and_dropped(user: Cli) -> None:
    kept = Path("audit-readmodel") / "audit.db"
    assert user("readmodel", "status", "--json").json["logs"][0]["sealed"] == 0
    assert not kept.exists()
    built = user("readmodel", "build", "--json").json
    assert Path(built["folder"]) == kept
    (log,) = built["logs"]
    assert (log["log"], log["origin"], log["sealed"]) == (0, "test.example/log", log["size"])
    assert log["kept_bytes"] > 0
    table = user("readmodel", "status").lines
    assert table[-1].split()[:5] == ["0", "test.example/log", "8", "8", "1"]
    assert user("readmodel", "drop", "--json").json["logs"][0]["sealed"] == 0
    assert not kept.exists()


def test_off_means_off(user: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDIT_READ_MODEL", "off")
    assert "read model" in user("readmodel", "build", code=2).err
    assert user("replay", "user", "--as-of", "6").lines[1:]
    assert not Path("audit-readmodel").exists()


def test_the_settings_file_says_where(user: Cli) -> None:
    Path("audit.toml").write_text('read_model = "columns"\n')
    assert user("readmodel", "build", "--json").json["folder"].startswith("columns")


def test_what_is_wrong_with_it_is_said_once_and_changes_no_answer(
    user: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fastpath, "FAST_FROM_ENTRIES", 0)
    plain = user("replay", "user", "--as-of", "6", "--format", "csv").out
    user("readmodel", "build")
    manifest = Path("audit-readmodel/audit.db/log-0/manifest.json")
    said = json.loads(manifest.read_text())
    said["pieces"][0]["root"] = "00" * 32
    manifest.write_text(json.dumps(said))
    ran = user("readmodel", "status")
    assert len([line for line in ran.err.splitlines() if "root hash" in line]) == 1
    assert user("replay", "user", "--as-of", "6", "--format", "csv").out == plain
