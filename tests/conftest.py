"""What every test stands on: a clean environment, steady hypothesis runs, the marker `needs`."""

import gc
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# What helpers assert then says what it saw, as in the tests themselves; before they are imported.
_HELPERS = {f"tests.{path.stem}" for path in Path(__file__).parent.iterdir()}
pytest.register_assert_rewrite(*sorted(_HELPERS - sys.modules.keys()))

from tests.services import fixtures, shared  # noqa: E402
from tests.services.fixtures import (  # noqa: E402, F401 - pytest finds them by being here
    REQUIRE_SERVICES,
    kafka_server,
    postgres_server,
    private_kafka,
    private_postgres,
    registry_server,
)

REPOSITORY = Path(__file__).resolve().parent.parent
OF_THE_TESTS = {
    REQUIRE_SERVICES,
    "AUDIT_MERKLE_TESTDATA",
    "AUDIT_TEST_ARTEFACTS",
    *fixtures.SETTINGS,
}
"""Settings that speak to the tests themselves; all other AUDIT_ names are some user's."""
IN_MEMORY = Path("/dev/shm")
"""A file system of Linux in which a commit waits for no disk."""
IN_MEMORY_BYTES = 4 << 30
"""So much must be free there, for ledgers, servers and the environment of the wheel."""

WHY_CHARS = 2_000
"""Of what is said at the end about each test that failed."""

PURE = {"event", "log", "tlog"}
"""Folders of tests without any store or process: no file of theirs takes long."""

# No deadline, because no test asserts on time; no database, because the tree stays clean.
settings.register_profile(
    "local", deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("ci", settings.get_profile("local"), derandomize=True, print_blob=True)


def pytest_configure(config: pytest.Config) -> None:
    """Choose the hypothesis profile; take the user's own ledger and settings out of reach."""
    required = os.environ.get(REQUIRE_SERVICES) == "1"
    settings.load_profile("ci" if required or os.environ.get("CI") else "local")
    for name in list(os.environ):
        if name.startswith("AUDIT_") and name not in OF_THE_TESTS:
            del os.environ[name]
        # libpq's own settings would redirect connections; a given server may need them.
        if name.startswith("PG") and fixtures.postgres.GIVEN not in os.environ:
            del os.environ[name]
    # The thousands of little ledgers spend much of their time in fsync. Whoever names a folder for
    # temporary files has it.
    if "TMPDIR" not in os.environ and _takes_temporary_files(IN_MEMORY):
        os.environ["TMPDIR"] = str(IN_MEMORY)
        tempfile.tempdir = None  # what was found before is forgotten
    # pytest-xdist would begin with the files of many tests; ours of few last longest.
    config.option.loadscopereorder = False
    if not hasattr(config, "workerinput") and getattr(config.option, "dist", "no") != "no":
        config.add_cleanup(shared.Keeper(fixtures.used.setdefault).close)
    # Processes that a test starts run this tree's code too, installed or not.
    path = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(REPOSITORY), *([path] if path else [])])


def _takes_temporary_files(folder: Path) -> bool:
    """Whether there is room for ours, and programs that we build and install may run there."""
    try:
        found = os.statvfs(folder)
    except (OSError, AttributeError):
        return False
    runs = not found.f_flag & getattr(os, "ST_NOEXEC", 0)
    return runs and os.access(folder, os.W_OK) and found.f_bavail * found.f_frsize > IN_MEMORY_BYTES


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first, each beside one without: the first wait for brokers, databases
    and processes, the others keep the cores busy. Those of PURE last: at the very end a long one
    would keep a single core busy."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    places: dict[Path, tuple[bool, int]] = {}
    counts = {True: 0, False: 0}
    for item in items:
        if item.path not in places:
            is_slow = item.path in slow
            pure = not is_slow and item.path.parent.name in PURE
            places[item.path] = pure, counts[is_slow]
            counts[is_slow] += not pure
    items.sort(key=lambda item: (*places[item.path], item.path not in slow, item.path))


def pytest_collection_finish() -> None:
    """Thousands of tests and all libraries are in memory now, for good: every full garbage
    collection would walk through them again."""
    gc.collect()
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, or in continuous integration fail, a test whose programs are not there."""
    programs = {name for mark in item.iter_markers("needs") for name in mark.args}
    missing = sorted(name for name in programs if shutil.which(name) is None)
    if not missing:
        return
    reason = f"needs {', '.join(missing)}"
    if os.environ.get(REQUIRE_SERVICES) == "1":
        pytest.fail(f"{reason}, and {REQUIRE_SERVICES}=1 forbids to skip")
    pytest.skip(reason)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which broker and which database this run used; and once more what failed and why, in
    full: where only the end of a log is kept, pytest's own last lines are cut off at its width."""
    for line in fixtures.used:
        terminalreporter.write_line(f"used: {line}")
    stats = terminalreporter.stats
    for report in (*stats.get("failed", ()), *stats.get("error", ())):
        crash = getattr(report.longrepr, "reprcrash", None)
        why = str(report.longrepr) if crash is None else crash.message
        terminalreporter.write_line(f"{report.nodeid}: {why[:WHY_CHARS]}")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The folder that holds pyproject.toml."""
    return REPOSITORY


@pytest.fixture
def ledger_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, and the current one: default settings put the ledger there."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """What a test sets up to log must not outlive it: its captured stderr will be closed, and
    import-linter switches off every logger that there is."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for logger in root.manager.loggerDict.values():
        if isinstance(logger, logging.Logger):
            logger.disabled = False
