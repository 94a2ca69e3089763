"""The image's entry point: secrets from files into the environment, then the command itself."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.support import DEPLOY

SECRETS = (
    *("AUDIT_KEY_PASSPHRASE", "PGPASSWORD", "AUDIT_KAFKA_SASL_PASSWORD"),
    *("AUDIT_KAFKA_SSL_KEY_PASSWORD", "AUDIT_REGISTRY_PASSWORD"),
)


@pytest.fixture
def shown(tmp_path: Path) -> Path:
    """A folder with an `audit` that says what it was given, and what mask it writes files with."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "audit"
    program.write_text(
        f"#!{sys.executable}\n"
        "import json, os, sys\n"
        "names = os.environ.keys() & set(os.environ['SHOW'].split())\n"
        "given = {name: os.environ[name] for name in names}\n"
        "print(json.dumps([sys.argv[1:], os.umask(0), given]))\n"
    )
    program.chmod(0o755)
    return folder


def run(folder: Path, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    show = " ".join([*SECRETS, *(f"{name}_FILE" for name in SECRETS)])
    environ = {"PATH": f"{folder}:{os.environ['PATH']}", "SHOW": show, **env}
    return subprocess.run(
        [str(DEPLOY / "entrypoint.sh"), *args], env=environ, capture_output=True, text=True
    )


def test_it_is_a_program() -> None:
    assert (DEPLOY / "entrypoint.sh").stat().st_mode & stat.S_IXUSR


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_comes_from_its_file(name: str, shown: Path, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text('it\'s $HOME `id` "x" \\ ü\n')
    done = run(shown, "status", "--json", **{f"{name}_FILE": str(path)})
    assert done.stderr == ""
    arguments, mask, environ = json.loads(done.stdout)
    assert arguments == ["status", "--json"]
    assert mask == 0o077
    assert environ == {name: 'it\'s $HOME `id` "x" \\ ü'}


def test_without_files_the_environment_is_as_it_was(shown: Path) -> None:
    done = run(shown, "verify", "a b", "", PGPASSWORD="x")
    arguments, _, environ = json.loads(done.stdout)
    assert arguments == ["verify", "a b", ""]
    assert environ == {"PGPASSWORD": "x"}


@pytest.mark.parametrize("content", [None, "", "\n"])
def test_a_secret_that_is_not_there_stops_it_with_its_name(
    content: str | None, shown: Path, tmp_path: Path
) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_text(content)
    done = run(shown, "status", PGPASSWORD_FILE=str(path))
    assert (done.returncode, done.stdout) == (3, "")
    assert "PGPASSWORD_FILE" in done.stderr and str(path) in done.stderr


@pytest.mark.parametrize("missing", ["postgres", "owner", "writer", "auditor"])
def test_roles_stop_before_the_first_change_when_a_password_is_missing(
    missing: str, tmp_path: Path
) -> None:
    for name in ("postgres", "owner", "writer", "auditor"):
        (tmp_path / f"{name}_password").write_text("" if name == missing else "x\n")
    environ = {
        "PATH": os.environ["PATH"],
        "SECRETS_DIR": str(tmp_path),
        "PGHOST": "nowhere.invalid",
    }
    done = subprocess.run([str(DEPLOY / "roles.sh")], env=environ, capture_output=True, text=True)
    assert done.returncode == 3
    assert f"{missing}_password" in done.stderr
