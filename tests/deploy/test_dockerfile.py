"""The Dockerfile, by its own rules; hadolint says the rest where it is installed."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from fnmatch import fnmatch
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.deploy.support import DEPLOY, dockerfile

LAST = max(instruction.stage for instruction in dockerfile())


def texts(name: str, stage: int | None = None) -> list[str]:
    return [
        instruction.text
        for instruction in dockerfile()
        if instruction.name == name and stage in (None, instruction.stage)
    ]


def sources(copy: str) -> list[str]:
    return [word for word in copy.split(" ") if not word.startswith("--")][:-1]


def test_the_base_is_pinned_and_the_same_for_both_stages() -> None:
    (image,) = texts("ARG", -1)
    assert re.fullmatch(r"PYTHON_IMAGE=python:3\.\d+\.\d+-slim-\w+", image)
    assert [text.split(" ")[0] for text in texts("FROM")] == ["${PYTHON_IMAGE}"] * 2


def test_nothing_but_what_this_repository_holds_and_the_wheels_gets_in() -> None:
    assert texts("ADD") == []
    root = DEPLOY.parent
    for copy in texts("COPY"):
        assert [path for path in sources(copy) if not (root / path).exists()] == []
    assert not re.search(r"curl|wget|https?://", " ".join(texts("RUN")))


def test_the_last_stage_gets_wheels_and_no_source_of_the_package() -> None:
    copied = {path for copy in texts("COPY", LAST) for path in sources(copy)}
    assert copied == {"deploy/entrypoint.sh", "deploy/setup.py", "deploy/checkpoints.py"}
    (install,) = [run for run in texts("RUN", LAST) if "pip" in run]
    assert "--no-index" in install and "from=wheels" in install


def test_the_first_stage_copies_what_changes_least_first() -> None:
    order = [path for copy in texts("COPY", 0) for path in sources(copy)]
    assert order.index("pyproject.toml") < order.index("schemas") < order.index("audit")


def test_the_extras_that_are_installed_exist() -> None:
    extras = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    named = re.findall(r"(?:\.|attestory)\[([\w,]+)\]", " ".join(texts("RUN")))
    assert len(named) == 2 and named[0] == named[1]
    assert "server" in named[0].split(",")
    assert set(named[0].split(",")) <= extras.keys()


def test_it_runs_as_nobody_special_and_stays_so() -> None:
    instructions = [instruction for instruction in dockerfile() if instruction.stage == LAST]
    (user,) = [instruction for instruction in instructions if instruction.name == "USER"]
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user.text)
    after = instructions[instructions.index(user) + 1 :]
    assert {instruction.name for instruction in after} <= {
        *("EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD")
    }


def test_it_asks_the_consumer_whether_it_is_alive() -> None:
    (check,) = texts("HEALTHCHECK", LAST)
    (port,) = texts("EXPOSE", LAST)
    assert f"http://127.0.0.1:{port}/healthz" in check
    command = json.loads(check.partition("CMD ")[2])
    assert command[0] == "python"
    for option in ("--interval=", "--timeout=", "--start-period=", "--retries="):
        assert option in check
    assert json.loads(texts("CMD", LAST)[0])[:3] == ["consume", "--health", f"0.0.0.0:{port}"]


def test_entry_point_and_command_are_lists() -> None:
    # A list, so that no shell stands between `docker stop` and the process.
    for name in ("ENTRYPOINT", "CMD"):
        (text,) = texts(name, LAST)
        assert isinstance(json.loads(text), list)


def test_it_says_what_it_is() -> None:
    labels = " ".join(texts("LABEL", LAST))
    for label in ("title", "description", "licenses", "version", "revision"):
        assert f"org.opencontainers.image.{label}=" in labels


def test_no_secret_is_an_argument_or_a_variable() -> None:
    named = re.compile(r"password|passphrase|secret|token|_key\b", re.IGNORECASE)
    for text in texts("ARG") + texts("ENV"):
        assert not named.search(text), text


def test_the_builder_sees_only_what_is_copied() -> None:
    lines = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    assert patterns[0] == "*"
    allowed = {line[1:] for line in patterns if line.startswith("!")}
    assert allowed == {path for copy in texts("COPY") for path in sources(copy)}
    refused = [line.removeprefix("**/") for line in patterns[1:] if not line.startswith("!")]
    for name in ("__pycache__", "entry.pyc"):
        assert any(fnmatch(name, pattern) for pattern in refused)


@pytest.mark.slow
def test_what_the_builder_sees_is_enough_for_the_wheel(tmp_path: Path) -> None:
    tree = tmp_path / "build"
    tree.mkdir()
    for path in (path for copy in texts("COPY", 0) for path in sources(copy)):
        source = DEPLOY.parent / path
        if source.is_dir():
            shutil.copytree(source, tree / path, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tree / path)
    # With the build backend at hand no network is needed.
    isolation = ["--no-isolation"] if find_spec("hatchling") else []
    command = [sys.executable, "-m", "build", "--wheel", *isolation, "--outdir", str(tmp_path)]
    done = subprocess.run([*command, str(tree)], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    [wheel] = tmp_path.glob("attestory-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {"audit/cli/main.py", "audit/schemas/event.v1.avsc", "consumers/service.py"} <= names


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="hadolint is not installed")
def test_hadolint_finds_nothing() -> None:
    command = ["hadolint", "--failure-threshold", "style", str(Path(DEPLOY, "Dockerfile"))]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
