"""The blob store: round trips, damage seen, one file a digest, and clear refusals."""

import hashlib
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from audit.errors import (
    FormatError,
    InvalidInput,
    LimitExceeded,
    NotFound,
    StoreCorrupt,
    Unavailable,
)
from audit.store import blobs
from audit.store.blobs import BlobStore, blob_path, default_blobs_url, digest_of


def stored_files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 5000])
def test_round_trip_and_layout(tmp_path: Path, data: bytes) -> None:
    store = BlobStore(tmp_path / "blobs")
    digest = store.put(data)
    hexed = hashlib.sha256(data).hexdigest()
    assert digest == digest_of(data) == f"sha256:{hexed}"
    assert store.get(digest) == data
    assert store.has(digest)
    assert stored_files(tmp_path / "blobs") == [f"sha256/{hexed[:2]}/{hexed[2:]}"]


def test_put_takes_a_file(tmp_path: Path) -> None:
    file = tmp_path / "model.bin"
    file.write_bytes(b"weights")
    store = BlobStore(f"file://{tmp_path}/my%20blobs")
    assert store.get(store.put(file)) == b"weights"
    assert (tmp_path / "my blobs").is_dir()


def test_put_is_idempotent(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    first = store.put(b"same")
    before = (tmp_path / blob_path(first)).stat()
    assert store.put(b"same") == first
    after = (tmp_path / blob_path(first)).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("damage", [b"", b"samf", b"same and more"])
def test_damage_is_named_and_mended_by_the_right_bytes(tmp_path: Path, damage: bytes) -> None:
    store = BlobStore(tmp_path)
    digest = store.put(b"same")
    (tmp_path / blob_path(digest)).write_bytes(damage)
    with pytest.raises(StoreCorrupt, match=digest):
        store.get(digest)
    assert store.put(b"same") == digest
    assert store.get(digest) == b"same"


def test_a_missing_blob_is_not_found(tmp_path: Path) -> None:
    store = BlobStore(tmp_path / "not yet there")
    digest = digest_of(b"never put")
    assert not store.has(digest)
    with pytest.raises(NotFound, match=digest):
        store.get(digest)
    assert not (tmp_path / "not yet there").exists()
    with pytest.raises(NotFound, match="nothing"):
        store.put(tmp_path / "nothing")


@pytest.mark.parametrize(
    "digest",
    [
        "",
        "sha256:",
        "sha256:" + "A" * 64,
        "sha256:" + "a" * 63,
        "sha256:" + "a" * 65,
        "sha256:" + "a" * 64 + "\n",
        "sha1:" + "a" * 64,
        "sha256:../../../../etc/passwd" + "a" * 41,
        "sha256:" + "٣" * 64,
    ],
)
def test_what_is_no_digest_is_refused(tmp_path: Path, digest: str) -> None:
    store = BlobStore(tmp_path)
    with pytest.raises(FormatError):
        store.get(digest)
    with pytest.raises(FormatError):
        store.has(digest)


def test_the_limit_holds_both_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = BlobStore(tmp_path)
    digest = store.put(b"12345")
    monkeypatch.setattr(blobs, "MAX_BLOB_BYTES", 4)
    with pytest.raises(LimitExceeded):
        store.put(b"12345")
    with pytest.raises(StoreCorrupt, match=digest):
        store.get(digest)


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = BlobStore(tmp_path)

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(Unavailable, match="No space left"):
        store.put(b"data")
    monkeypatch.undo()
    assert stored_files(tmp_path) == []
    assert not store.has(digest_of(b"data"))


def test_a_folder_that_cannot_be_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    store = BlobStore(tmp_path / "file")
    with pytest.raises(Unavailable, match="cannot be used"):
        store.put(b"data")
    assert not store.has(digest_of(b"data"))


def test_many_writers_of_one_blob(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    data = os.urandom(200_000)
    with ThreadPoolExecutor(8) as pool:
        digests = set(pool.map(lambda _: store.put(data), range(32)))
    assert digests == {digest_of(data)}
    assert len(stored_files(tmp_path)) == 1
    assert store.get(digests.pop()) == data


def test_blobs_are_readable_by_whom_the_umask_allows(tmp_path: Path) -> None:
    program = (
        "import os, sys; os.umask(0o022); sys.path.insert(0, sys.argv[1])\n"
        "from audit.store.blobs import BlobStore\n"
        "print(BlobStore(sys.argv[2]).put(b'data'))"
    )
    root = Path(blobs.__file__).parents[2]
    digest = subprocess.run(
        [sys.executable, "-c", program, str(root), str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    assert stat.S_IMODE((tmp_path / blob_path(digest)).stat().st_mode) == 0o644


@pytest.mark.parametrize("url", ["", "a\0b", "file://elsewhere/blobs", "file://"])
def test_addresses_that_are_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        BlobStore(url)


def test_a_url_needs_fsspec_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(Unavailable, match="fsspec") as caught:
        BlobStore("sftp://alice:secret@host/blobs")
    assert "secret" not in str(caught.value)


def test_any_fsspec_url() -> None:
    pytest.importorskip("fsspec")
    store = BlobStore("memory://attestory-test-blobs")
    digest = store.put(b"far away")
    assert store.put(b"far away") == digest
    assert store.has(digest)
    assert store.get(digest) == b"far away"
    assert not store.has(digest_of(b"never put"))
    with pytest.raises(NotFound):
        store.get(digest_of(b"never put"))


@pytest.mark.parametrize(
    ("store_url", "expected"),
    [
        (None, "audit-blobs"),
        ("sqlite:///audit.db", "audit-blobs"),
        ("sqlite:///data/audit.db", "data/audit-blobs"),
        ("sqlite:////var/lib/audit.db?mode=ro", "/var/lib/audit-blobs"),
        ("bundle:///case.zip", "audit-blobs"),
        ("postgresql://user@host/db", "audit-blobs"),
    ],
)
def test_where_blobs_are_by_default(
    store_url: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AUDIT_BLOBS", raising=False)
    assert default_blobs_url(store_url) == expected
    monkeypatch.setenv("AUDIT_BLOBS", "s3://bucket/blobs")
    assert default_blobs_url(store_url) == "s3://bucket/blobs"
