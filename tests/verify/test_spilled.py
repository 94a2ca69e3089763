"""Temporary files of the verifier: gone at the end, and an error of ours where there is no room."""

import tempfile
from pathlib import Path

import pytest

from audit.errors import Unavailable
from audit.verify.steps import ids as steps_ids
from audit.verify.steps import stated as steps_stated
from audit.verify.steps.ids import SpilledIds
from audit.verify.steps.stated import Stated, StatedHeads


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "spill"))
    monkeypatch.setattr(steps_ids, "BUFFER_IDS", 2)
    monkeypatch.setattr(steps_stated, "BUFFER_BYTES", 100)
    return tmp_path / "spill"


def heads(count: int) -> list[Stated]:
    return [Stated(n + 1, n, bytes([n]) * 32) for n in range(count)]


def test_what_was_spilled_is_read_and_goes_at_the_end(folder: Path) -> None:
    folder.mkdir()
    with SpilledIds(0) as ids, StatedHeads() as stated:
        for place in range(9):
            ids.add([place % 5], [place])
        for head in heads(9):
            for origin in ("a", "../b"):
                assert stated.take(origin, head)
        assert len(list(folder.iterdir())) == 2
        assert sorted(path.name for path in folder.rglob("*.heads")) == ["0.heads", "1.heads"]
        assert ids.repeats() == [[place, place + 5] for place in range(4)]
        for origin in ("a", "../b"):
            assert list(stated.of(origin)) == heads(9)
    assert list(folder.iterdir()) == []


def test_no_room_is_an_error_of_ours(folder: Path) -> None:
    with pytest.raises(Unavailable, match=r"no room for temporary files .* 16 bytes an entry"):
        SpilledIds(0).add([1, 2], [1, 2])
    stated = StatedHeads()
    with pytest.raises(Unavailable, match="48 bytes a stated head are needed"):
        for head in heads(3):
            stated.take("a", head)
