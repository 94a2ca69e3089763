"""`audit.toml` and the environment."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from audit.config import MAX_CONFIG_BYTES, Settings, load_settings
from audit.errors import InvalidInput, LimitExceeded, Unavailable
from tests.cli.conftest import Cli


def test_without_file_and_environment_nothing_is_set(ledger_dir: Path) -> None:
    settings = load_settings()
    assert {getattr(settings, name) for name in Settings.model_fields} == {None}


def test_the_file_sets_and_the_environment_wins(
    ledger_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (ledger_dir / "audit.toml").write_text('store = "sqlite:///a.db"\nkey = "a.key"\n')
    monkeypatch.setenv("AUDIT_STORE", "sqlite:///b.db")
    settings = load_settings()
    assert (settings.store, settings.key) == ("sqlite:///b.db", Path("a.key"))


def test_an_empty_variable_sets_nothing(ledger_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (ledger_dir / "audit.toml").write_text('store = "sqlite:///a.db"')
    monkeypatch.setenv("AUDIT_STORE", "")
    assert load_settings().store == "sqlite:///a.db"


def test_settings_are_frozen_and_never_show_the_passphrase(
    ledger_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUDIT_KEY_PASSPHRASE", "correct horse")
    settings = load_settings()
    assert settings.passphrase == "correct horse"
    assert "horse" not in repr(settings) and "horse" not in str(settings)
    with pytest.raises(ValueError, match="frozen"):
        settings.store = "x"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('stor = "x"', "did you mean store?"),
        ('AUDIT_STORE = "x"', "did you mean store?"),
        ("colour = 1", "known are"),
        ("[store]\nurl = 1", "store"),
        ("store = 5", "store"),
        ('store = ""', "store"),
        ("store = ", "TOML"),
        ("\x00", "TOML"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(ledger_dir: Path, text: str, said: str) -> None:
    (ledger_dir / "audit.toml").write_text(text)
    with pytest.raises(InvalidInput, match=r"audit\.toml") as found:
        load_settings()
    assert said in str(found.value)
    assert len(str(found.value).split("\n")) <= 2


def test_a_value_that_may_be_a_secret_is_not_repeated(ledger_dir: Path) -> None:
    (ledger_dir / "audit.toml").write_text('key_passphrase = ["hunter2"]')
    with pytest.raises(InvalidInput) as found:
        load_settings()
    assert "hunter2" not in str(found.value)


def test_a_file_that_is_no_text_is_refused(ledger_dir: Path) -> None:
    (ledger_dir / "audit.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidInput, match="UTF-8"):
        load_settings()


def test_a_file_too_large_is_refused(ledger_dir: Path) -> None:
    (ledger_dir / "audit.toml").write_text("#" * (MAX_CONFIG_BYTES + 1))
    with pytest.raises(LimitExceeded):
        load_settings()


def test_a_file_that_cannot_be_read_is_unavailable(ledger_dir: Path) -> None:
    (ledger_dir / "audit.toml").mkdir()
    with pytest.raises(Unavailable):
        load_settings()


def test_commands_follow_the_file(cli: Cli, ledger_dir: Path) -> None:
    before = dict(os.environ)
    (ledger_dir / "audit.toml").write_text(
        'store = "sqlite:///a.db"\nkey = "my.key"\npolicy = "my.policy"\nspool = "my-spool"\n'
    )
    cli("emit", "create", "user", "5", '{"n": 1}')
    cli("replay", "user", "--verify")
    assert {"a.db", "my.key", "my.policy"} <= {path.name for path in ledger_dir.iterdir()}
    assert not (ledger_dir / "audit.key").exists() and not (ledger_dir / "audit-spool").exists()
    assert dict(os.environ) == before
    cli("emit", "create", "user", "5", "{}", "--store", "sqlite:///b.db")
    assert len(cli("log", "--store", "sqlite:///b.db", "--json").json) == 1


def test_a_bad_file_stops_every_command_but_not_the_help(cli: Cli, ledger_dir: Path) -> None:
    (ledger_dir / "audit.toml").write_text('stor = "x"')
    assert "did you mean store?" in cli("status", code=2).err
    assert "replay" in cli("--help").out


@pytest.mark.parametrize(
    "args", [["--help"], ["emit", "--help"], ["emit", "create", "u", "1", "{}"], ["show", "0"]]
)
def test_common_commands_load_nothing_heavy(cli: Cli, args: list[str]) -> None:
    program = (
        "import sys\nfrom audit.cli.app import app\ncode = app.run(sys.argv[1:])\n"
        "print(*sys.modules, file=sys.stderr)\nsys.exit(code)"
    )
    cli("init")
    done = subprocess.run([sys.executable, "-c", program, *args], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    loaded = {name.partition(".")[0] for name in done.stderr.split()}
    heavy = {"pandas", "pyarrow", "sklearn", "numpy", "pydantic", "pydantic_settings"}
    assert "audit" in loaded and not loaded & heavy
    assert "sqlalchemy" not in loaded or "--help" not in args
