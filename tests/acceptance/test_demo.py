"""`audit demo`: the whole story, as somebody sees it who has never seen a Merkle tree."""

import shutil
import sys
from pathlib import Path

import pytest

from tests.acceptance.claims import LEFT_OVER, MARKER, Claims, Told, here, told_once

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """The run's demo, in a folder of this file's own."""
    made = told_once(tmp_path_factory)
    folder = tmp_path_factory.mktemp("home") / "story"
    shutil.copytree(made.folder, folder)
    return Told(folder, made.text.replace(str(made.folder), str(folder)))


class TestOnOneMachine(Claims):
    """The story without any service."""

    what_if = True

    def test_an_index_alone_names_an_entry(self, told: Told) -> None:
        assert "the correction, entry 28, never" in " ".join(told.text.split())
        assert told.settings == {}


def test_a_second_demo_takes_the_place_of_the_first(told: Told) -> None:
    # It was begun, and killed, in the same folder before.
    assert (told.folder / MARKER).exists()
    assert not (told.folder / LEFT_OVER).exists()


def test_a_folder_with_somebodys_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    done = here(tmp_path, "--dir", ".")
    assert done.returncode == 2 and "not empty" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("option", "url", "words"),
    [
        ("--store", "sqlite:///elsewhere/audit.db", "in its own folder"),
        ("--store", "bundle:///case.zip", "not a store"),
        ("--bus", "sqlite:///audit.db", "looks like kafka://host"),
    ],
)
def test_a_place_where_it_cannot_play_is_refused(
    tmp_path: Path, option: str, url: str, words: str
) -> None:
    done = here(tmp_path, "--dir", "x", option, url)
    assert done.returncode == 2 and words in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_without_scikit_learn_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    done = here(tmp_path, "--dir", "x")
    assert done.returncode == 3
    assert done.stderr == (
        "error: the demo trains a model and needs scikit-learn: pip install 'attestory[ml]'\n"
    )
    assert list(tmp_path.iterdir()) == []
