"""`audit demo`: the whole story, as somebody sees it who has never seen a Merkle tree."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

AUDIT = [sys.executable, "-m", "audit", "demo"]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of one demo, and all that it printed. The reader's own settings do not disturb."""
    home = tmp_path_factory.mktemp("home")
    env = {**os.environ, "AUDIT_STORE": "sqlite:///nowhere/x.db", "AUDIT_KEY": "none"}
    done = subprocess.run(
        [*AUDIT, "--dir", "story"], cwd=home, env=env, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert [path.name for path in home.iterdir()] == ["story"]
    return home / "story", done.stdout


def test_every_step_is_headed_and_shows_its_command(told: tuple[Path, str]) -> None:
    numbers = re.findall(r"^(\d+)  \S", told[1], re.MULTILINE)
    assert numbers == [str(number) for number in range(1, len(numbers) + 1)]
    commands = set(re.findall(r"^\$ audit ([a-z]+)", told[1], re.MULTILINE))
    assert commands >= {
        *("init", "import", "key", "emit", "history", "show", "replay", "predictions", "blame"),
        *("diff", "verify", "prove"),
    }


def test_customer_003_on_both_axes(told: tuple[Path, str]) -> None:
    found = re.findall(r"^(1003|1008),\w+,003,.*?,([^,\n]*)$", told[1], re.MULTILINE)
    assert found == [
        ("1003", "Late (30 days)"),
        ("1003", "Late (30 days)"),
        ("1008", "Paid Off"),
        ("1003", "Current"),
    ]


def test_the_prediction_is_identical(told: tuple[Path, str]) -> None:
    assert re.search(r"^OUTPUT +IDENTICAL$", told[1], re.MULTILINE)
    assert re.search(r"^INTEGRITY +VERIFIED$", told[1], re.MULTILINE)


def test_the_three_attacks_are_found_and_located(told: tuple[Path, str]) -> None:
    story = told[1][told[1].index("Now somebody tampers") :]
    verdicts = re.findall(r"^(OK|TAMPERED): ", story, re.MULTILINE)
    # Edited, deleted, rewritten: flawless by itself, and caught by what was kept.
    assert verdicts == ["TAMPERED", "TAMPERED", "OK", "TAMPERED"]
    located = re.findall(r"FIRST BAD ENTRY (\d+)", story)
    inquiry, correction = re.search(r"Entry (\d+) is inquiry", story), "25"
    assert inquiry is not None
    assert located == [inquiry[1], inquiry[1], correction]
    assert story.count("(exit code 1)") == 3


def test_the_ledger_stays_and_still_verifies(told: tuple[Path, str]) -> None:
    folder, printed = told
    assert str(folder) in printed.splitlines()[-1]
    done = subprocess.run([*AUDIT[:-1], "verify"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    for line in re.findall(r"^    (audit .*?)(?: +#.*)?$", printed, re.MULTILINE):
        words = line.split()[1:]
        tried = subprocess.run([*AUDIT[:-1], *words], cwd=folder, capture_output=True, text=True)
        assert tried.returncode == 0, f"{line}\n{tried.stderr}"


def test_a_second_demo_takes_the_place_of_the_first(told: tuple[Path, str]) -> None:
    folder, _ = told
    (folder / "left-over").write_text("x")
    done = subprocess.run([*AUDIT, "--dir", str(folder)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert not (folder / "left-over").exists()


def test_a_folder_with_somebodys_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    done = subprocess.run([*AUDIT, "--dir", str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 2 and "not empty" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_without_scikit_learn_it_says_what_to_install(tmp_path: Path) -> None:
    program = (
        "import sys\nsys.modules['sklearn'] = None\n"
        "from audit.cli.app import app\nsys.exit(app.run(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "demo", "--dir", "x"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 3
    assert done.stderr == (
        "error: the demo trains a model and needs scikit-learn: pip install 'attestory[ml]'\n"
    )
    assert list(tmp_path.iterdir()) == []
