"""Attacks on a bundle: on its entries, its proofs, its manifest, and on the zip file itself."""

import io
import json
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.errors import AuditError, FormatError, LimitExceeded
from audit.event.wire import encode_long
from audit.store import open_reader
from audit.tlog.checkpoint import Checkpoint, sign_checkpoint
from audit.verify.bundle import Selection, open_bundle, verify_bundle, write_bundle
from audit.verify.bundle import read as bundle_read
from audit.verify.bundle import zip as bundle_zip
from audit.verify.bundle.format import parse_manifest
from audit.verify.bundle.ocf import MAGIC, SCHEMA, SYNC, BundleEntry, read_entries, write_entries
from audit.verify.findings import Report, Verdict
from tests.verify.attacker import flip
from tests.verify.conftest import ORIGIN, POLICY, SIGNER, STRANGER, codes, first

POSITIONS = [100, 101, 255, 256, 400, 511, 512, 529, 530, 535]


@pytest.fixture(scope="module")
def made(ledger_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "case.zip"
    with open_reader(f"sqlite:///{ledger_file}") as reader:
        write_bundle(reader, Selection("q", [(0, index) for index in POSITIONS]), path)
    return path


@pytest.fixture
def bundle(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(made, tmp_path / "case.zip"))


def members_of(bundle: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(bundle) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(bundle: Path, members: dict[str, bytes], fix_manifest: bool = True) -> None:
    """Write the members as a bundle has them; the manifest is made to fit, as an attacker would."""
    if fix_manifest:
        manifest = json.loads(members["manifest.json"])
        manifest["members"] = {
            name: {"bytes": len(data), "sha256": sha256(data).hexdigest()}
            for name, data in sorted(members.items())
            if name != "manifest.json"
        }
        members["manifest.json"] = json.dumps(manifest).encode()
    with zipfile.ZipFile(bundle, "w") as archive:
        for name in sorted(members):
            archive.writestr(zipfile.ZipInfo(name), members[name])


def change_entries(
    bundle: Path, change: Callable[[list[BundleEntry]], list[BundleEntry]]
) -> Report:
    """Change the entries; the manifest's digests and counts fit afterwards."""
    members = members_of(bundle)
    entries = change(list(read_entries(io.BytesIO(members["entries.avro"]))))
    file = io.BytesIO()
    write_entries(file, entries)
    members["entries.avro"] = file.getvalue()
    manifest = json.loads(members["manifest.json"])
    manifest["logs"][0]["entries"] = len(entries)
    members["manifest.json"] = json.dumps(manifest).encode()
    write(bundle, members)
    return verify_bundle(bundle, POLICY)


def replaced(at: int, **fields: Any) -> Callable[[list[BundleEntry]], list[BundleEntry]]:
    return lambda entries: [e._replace(**fields) if e.index == at else e for e in entries]


def entry_at(bundle: Path, index: int) -> BundleEntry:
    entries = read_entries(io.BytesIO(members_of(bundle)["entries.avro"]))
    return next(entry for entry in entries if entry.index == index)


def tampered(report: Report, code: str, index: int | None) -> None:
    assert report.verdict is Verdict.TAMPERED
    assert code in codes(report) and first(report, code) == index


def test_rewriting_without_a_change_is_still_ok(bundle: Path) -> None:
    assert change_entries(bundle, lambda entries: entries).ok


# Entries and proofs


def test_a_bit_flipped_in_a_leaf(bundle: Path) -> None:
    leaf = entry_at(bundle, 400).leaf
    for at in range(0, len(leaf), 11):
        report = change_entries(bundle, replaced(400, leaf=flip(leaf, at)))
        tampered(report, "inclusion", 400)
        change_entries(bundle, replaced(400, leaf=leaf))


def test_a_proof_with_another_hash(bundle: Path) -> None:
    proof = entry_at(bundle, 400).proof
    for at in range(len(proof)):
        other = (*proof[:at], flip(proof[at], 3), *proof[at + 1 :])
        tampered(change_entries(bundle, replaced(400, proof=other)), "inclusion", 400)


def test_a_proof_with_a_missing_or_an_extra_sibling(bundle: Path) -> None:
    proof = entry_at(bundle, 400).proof
    for other in (proof[1:], proof[:-1], (*proof, bytes(32)), (bytes(32), *proof), ()):
        tampered(change_entries(bundle, replaced(400, proof=other)), "inclusion", 400)


def test_an_entry_filed_under_another_index(bundle: Path) -> None:
    tampered(change_entries(bundle, replaced(400, index=401)), "inclusion", 401)
    tampered(change_entries(bundle, replaced(401, index=510)), "wrong_index", 510)


def test_the_same_proof_at_another_index(bundle: Path) -> None:
    """Index + 1 with the leaf of that index, but the proof of its neighbour."""
    neighbour = entry_at(bundle, 101)
    report = change_entries(
        bundle, replaced(101, proof=entry_at(bundle, 100).proof, leaf=neighbour.leaf)
    )
    tampered(report, "inclusion", 101)


def test_an_entry_twice_or_out_of_order(bundle: Path) -> None:
    for change in (
        lambda entries: sorted([*entries, entries[3]]),
        lambda entries: entries[::-1],
        lambda entries: [entry._replace(log=7) for entry in entries],
    ):
        shutil.copy(bundle, bundle.with_suffix(".copy"))
        report = change_entries(bundle.with_suffix(".copy"), change)
        assert report.verdict is Verdict.CANNOT_TELL and codes(report) == {"unreadable"}
        with pytest.raises(FormatError):
            open_bundle(bundle.with_suffix(".copy"))


def test_an_entry_above_the_checkpoint(bundle: Path) -> None:
    report = change_entries(bundle, replaced(535, index=536))
    tampered(report, "beyond_checkpoint", 536)
    with pytest.raises(FormatError):
        open_bundle(bundle)


def test_an_entry_left_out_is_not_seen_and_said_so(bundle: Path) -> None:
    """What a query should have found cannot be proven by what is there."""
    report = change_entries(bundle, lambda entries: [e for e in entries if e.index != 400])
    assert report.ok and "selection" in report.not_proven


# Checkpoint and manifest


def with_note(bundle: Path, note: bytes, **changes: Any) -> Report:
    members = members_of(bundle)
    members["checkpoints/0.note"] = note
    manifest = json.loads(members["manifest.json"])
    manifest["logs"][0].update(changes)
    members["manifest.json"] = json.dumps(manifest).encode()
    write(bundle, members)
    return verify_bundle(bundle, POLICY)


def test_a_checkpoint_signed_by_a_stranger(bundle: Path) -> None:
    report = with_note(bundle, sign_checkpoint(Checkpoint(ORIGIN, 536, bytes(32)), STRANGER))
    assert report.verdict is Verdict.CANNOT_TELL and codes(report) == {"unknown_key"}


def test_a_checkpoint_of_another_size_or_root(bundle: Path) -> None:
    root = bytes.fromhex(json.loads(members_of(bundle)["manifest.json"])["logs"][0]["root_hash"])
    for size, other in ((537, root), (535, root), (536, bytes(32))):
        note = sign_checkpoint(Checkpoint(ORIGIN, size, other), SIGNER)
        report = with_note(bundle, note, size=size, root_hash=other.hex())
        assert report.verdict is Verdict.TAMPERED
        assert {"inclusion", "beyond_checkpoint"} & codes(report)


def test_a_checkpoint_that_the_manifest_does_not_describe(bundle: Path) -> None:
    for changes in ({"size": 600}, {"root_hash": "00" * 32}, {"edge": []}, {"entries": 3}):
        report = with_note(bundle, members_of(bundle)["checkpoints/0.note"], **changes)
        tampered(report, "bundle_differs", None)
    assert parse_manifest(members_of(bundle)["manifest.json"]).logs[0].size == 600


def test_another_origin_in_the_manifest(bundle: Path) -> None:
    note = members_of(bundle)["checkpoints/0.note"]
    tampered(with_note(bundle, note, origin="example.com/other"), "checkpoint_origin", None)


def test_another_key_in_the_manifest(bundle: Path) -> None:
    note = members_of(bundle)["checkpoints/0.note"]
    tampered(with_note(bundle, note, vkey=STRANGER.verifier.vkey), "log_row_differs", None)


def test_one_log_twice_in_the_manifest(bundle: Path) -> None:
    manifest = json.loads(members_of(bundle)["manifest.json"])
    manifest["logs"].append({**manifest["logs"][0], "log": 1})
    with pytest.raises(FormatError, match="one log twice"):
        parse_manifest(json.dumps(manifest).encode())


@pytest.mark.parametrize("note", [b"", b"junk", b"\xff\xfe", b"x\n" * 100])
def test_a_checkpoint_that_is_none(bundle: Path, note: bytes) -> None:
    tampered(with_note(bundle, note), "checkpoint_malformed", None)


def test_a_checkpoint_that_contradicts_a_kept_one(bundle: Path) -> None:
    kept = sign_checkpoint(Checkpoint(ORIGIN, 536, bytes(32)), SIGNER)
    tampered(verify_bundle(bundle, POLICY, [kept]), "equivocation", None)


@pytest.mark.parametrize("name", ["HOW-TO-CHECK.txt", "entries.avro", "checkpoints/0.note"])
def test_a_member_that_the_manifest_does_not_describe(bundle: Path, name: str) -> None:
    members = members_of(bundle)
    members[name] += b" "
    write(bundle, members, fix_manifest=False)
    tampered(verify_bundle(bundle, POLICY), "bundle_differs", None)


def test_a_schema_swapped(bundle: Path) -> None:
    members = members_of(bundle)
    name = next(name for name in members if name.startswith("schemas/"))
    members[name] = b'"string"'
    write(bundle, members)
    tampered(verify_bundle(bundle, POLICY), "bundle_differs", None)


def test_a_member_missing_or_added(bundle: Path) -> None:
    members = members_of(bundle)
    name = next(name for name in members if name.startswith("schemas/"))
    write(bundle, {n: d for n, d in members.items() if n != name}, fix_manifest=False)
    tampered(verify_bundle(bundle, POLICY), "bundle_differs", None)
    write(bundle, {**members, "policy-as-found.txt": b"x"}, fix_manifest=False)
    tampered(verify_bundle(bundle, POLICY), "bundle_differs", None)


def unreadable(bundle: Path) -> None:
    """A finding, not a traceback; and nobody can read it like a ledger."""
    report = verify_bundle(bundle, POLICY)
    assert not report.ok and "unreadable" in codes(report), report.findings
    with pytest.raises((FormatError, LimitExceeded)) as raised:
        open_bundle(bundle)
    assert "\n" not in str(raised.value)


MANIFESTS = {
    "not JSON": b"{",
    "not UTF-8": b"\xff",
    "a list": b"[]",
    "another format": b'{"format": "attestory-bundle/v2"}',
    "a name twice": b'{"format": "attestory-bundle/v1", "format": "attestory-bundle/v1"}',
    "deep": b"[" * 100_000,
    "a float": b'{"format": "attestory-bundle/v1", "query": 1.5}',
    "NaN": b'{"format": NaN}',
    "no logs": b'{"format": "attestory-bundle/v1"}',
    "a huge number": b'{"format": "attestory-bundle/v1", "logs": ' + b"9" * 10_000 + b"}",
}


@pytest.mark.parametrize("manifest", MANIFESTS.values(), ids=MANIFESTS.keys())
def test_a_manifest_that_is_none(bundle: Path, manifest: bytes) -> None:
    members = members_of(bundle)
    members["manifest.json"] = manifest
    write(bundle, members, fix_manifest=False)
    unreadable(bundle)


FIELDS: dict[str, Callable[[dict[str, Any]], None]] = {
    "log -1": lambda m: m["logs"][0].update(log=-1),
    "log 2^40": lambda m: m["logs"][0].update(log=2**40),
    "log true": lambda m: m["logs"][0].update(log=True),
    "size -1": lambda m: m["logs"][0].update(size=-1),
    "size 2^63": lambda m: m["logs"][0].update(size=2**63),
    "size text": lambda m: m["logs"][0].update(size="536"),
    "a root of 31 bytes": lambda m: m["logs"][0].update(root_hash="00" * 31),
    "a root in capitals": lambda m: m["logs"][0].update(root_hash="AA" * 32),
    "an edge of numbers": lambda m: m["logs"][0].update(edge=[1]),
    "a log twice": lambda m: m["logs"].append(m["logs"][0]),
    "a log that is a number": lambda m: m["logs"].append(1),
    "members as a list": lambda m: m.update(members=[]),
    "a member outside": lambda m: m["members"].update({"../x": {"bytes": 1, "sha256": "00" * 32}}),
    "itself": lambda m: m["members"].update({"manifest.json": {"bytes": 1, "sha256": "00" * 32}}),
    "query null": lambda m: m.update(query=None),
}


@pytest.mark.parametrize("change", FIELDS.values(), ids=FIELDS.keys())
def test_a_manifest_with_impossible_values(
    bundle: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    members = members_of(bundle)
    manifest = json.loads(members["manifest.json"])
    change(manifest)
    members["manifest.json"] = json.dumps(manifest).encode()
    write(bundle, members, fix_manifest=False)
    unreadable(bundle)


# The zip file


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "/etc/passwd",
        "schemas/../../x",
        "checkpoints/00.note",
        "a\\b",
        "entries.avro/",
        "x",
    ],
)
def test_a_member_with_another_name_is_refused(bundle: Path, name: str) -> None:
    write(bundle, {**members_of(bundle), name: b"x"}, fix_manifest=False)
    unreadable(bundle)


def test_a_member_twice_is_refused(bundle: Path) -> None:
    with pytest.warns(UserWarning), zipfile.ZipFile(bundle, "a") as archive:
        archive.writestr("entries.avro", b"other")
    unreadable(bundle)


def test_a_compressed_member_is_refused(bundle: Path) -> None:
    """So a zip bomb cannot be."""
    members = members_of(bundle)
    members["entries.avro"] = bytes(50_000_000)
    with zipfile.ZipFile(bundle, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(members):
            archive.writestr(name, members[name])
    assert bundle.stat().st_size < 1_000_000
    unreadable(bundle)


def test_data_before_between_or_after_is_refused(bundle: Path) -> None:
    data = bundle.read_bytes()
    end = data.rindex(b"PK\x05\x06")
    at = data.index(b"PK\x03\x04", 10)
    for changed in (
        b"#!/bin/sh\n" + data,
        data + b"trailing",
        data + bytes(100_000),
        data[:at] + b"between" + data[at:],
        data[: end + 20] + struct.pack("<H", 3) + b"hey",
        data + data,
    ):
        bundle.write_bytes(changed)
        unreadable(bundle)


def test_an_extra_field_is_refused(bundle: Path) -> None:
    members = members_of(bundle)
    with zipfile.ZipFile(bundle, "w") as archive:
        for name in sorted(members):
            info = zipfile.ZipInfo(name)
            info.extra = struct.pack("<HH", 0x9999, 4) + b"hide"
            archive.writestr(info, members[name])
    unreadable(bundle)


def test_too_many_members_are_refused(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_zip, "MAX_MEMBERS", 5)
    unreadable(bundle)


def test_too_large_a_small_member_is_refused(bundle: Path) -> None:
    write(bundle, {**members_of(bundle), "policy-as-found.txt": bytes(1_000_001)})
    unreadable(bundle)


@pytest.mark.parametrize("part", [0.0, 0.01, 0.5, 0.99, 0.999])
def test_a_cut_off_file_is_refused(bundle: Path, part: float) -> None:
    data = bundle.read_bytes()
    bundle.write_bytes(data[: int(len(data) * part)])
    unreadable(bundle)


def test_any_flipped_byte_is_found_or_meaningless(bundle: Path) -> None:
    """Never a traceback; `ok` only when every member still says the same."""
    original, data = members_of(bundle), bundle.read_bytes()
    for at in range(0, len(data), 101):
        bundle.write_bytes(data[:at] + bytes((data[at] ^ 0x41,)) + data[at + 1 :])
        if verify_bundle(bundle, POLICY).ok:
            assert members_of(bundle) == original


@given(data=st.binary(max_size=200))
def test_any_bytes_are_refused(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any.zip"
    path.write_bytes(data)
    unreadable(path)
    path.write_bytes(b"PK\x03\x04" + data + b"PK\x05\x06" + bytes(18))
    unreadable(path)


# The Avro file


def container(count: int, block: bytes, codec: bytes = b"null", schema: object = SCHEMA) -> bytes:
    header = MAGIC + encode_long(2)
    for key, value in ((b"avro.codec", codec), (b"avro.schema", json.dumps(schema).encode())):
        header += encode_long(len(key)) + key + encode_long(len(value)) + value
    return header + b"\0" + SYNC + encode_long(count) + encode_long(len(block)) + block + SYNC


def deflated(data: bytes) -> bytes:
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    return squeeze.compress(data) + squeeze.flush()


RECURSIVE = {
    "type": "record",
    "name": "BundleEntry",
    "fields": [{"name": "x", "type": "BundleEntry"}],
}
ENTRY = b"\x00\x02\x06abc\x00"
BAD_FILES = {
    "empty": b"",
    "text": b"hello",
    "only the magic": MAGIC,
    "a recursive schema": container(1, ENTRY, schema=RECURSIVE),
    "a schema that is no JSON": container(1, ENTRY, schema=None),
    "an unknown codec": container(1, ENTRY, b"bzip2"),
    "a count of 0": container(0, ENTRY),
    "cut off": container(1, ENTRY)[:-20],
    "more records than there are": container(2, ENTRY),
    "fewer records than there are": container(1, ENTRY * 2),
    "a million records in ten bytes": container(10**6, ENTRY),
    "a leaf of 2^40 bytes": container(1, b"\x00\x02" + encode_long(2**40) + b"x"),
    "a leaf over its limit": container(1, b"\0\2" + encode_long(65_536) + bytes(65_536) + b"\0"),
    "a proof of 2^30 hashes": container(1, b"\x00\x02\x02a" + encode_long(2**30)),
    "a proof of 64 hashes": container(1, b"\0\2\2a" + encode_long(64) + bytes(64 * 32) + b"\0"),
    "a proof in two pieces": container(1, b"\0\2\2a" + (b"\x02" + bytes(32)) * 2 + b"\0"),
    "a negative index": container(1, b"\x00\x01\x02a\x00"),
    "a number of 11 bytes": container(1, b"\x80" * 11),
    "a wrong mark": container(1, ENTRY)[:-1] + b"?",
    "a deflate bomb": container(1, deflated(bytes(40_000_000)), b"deflate"),
    "a small deflate bomb": container(1, deflated(bytes(1_000_000)), b"deflate"),
    "deflate that is none": container(1, b"\xff\xff\xff", b"deflate"),
    "deflate with a tail": container(1, deflated(ENTRY) + b"tail", b"deflate"),
}


@pytest.mark.parametrize("data", BAD_FILES.values(), ids=BAD_FILES.keys())
def test_entries_that_are_none(bundle: Path, data: bytes) -> None:
    with pytest.raises((FormatError, LimitExceeded)):
        list(read_entries(io.BytesIO(data)))
    members = members_of(bundle)
    members["entries.avro"] = data
    write(bundle, members)
    unreadable(bundle)


def test_too_many_entries_are_refused(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_read, "MAX_ENTRIES", 5)
    unreadable(bundle)


def test_too_large_entries_are_refused(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_read, "MAX_ENTRIES_BYTES", 1_000)
    unreadable(bundle)


@given(st.binary(max_size=120))
def test_any_block_is_read_or_refused(block: bytes) -> None:
    for codec, data in ((b"null", block), (b"deflate", block), (b"deflate", deflated(block))):
        try:
            found = list(read_entries(io.BytesIO(container(1, data, codec))))
        except AuditError:
            continue
        file = io.BytesIO()
        write_entries(file, found)
        assert list(read_entries(io.BytesIO(file.getvalue()))) == found


entries = st.builds(
    BundleEntry,
    log=st.integers(0, 3),
    index=st.integers(0, 2**63 - 1),
    leaf=st.binary(max_size=50),
    proof=st.lists(st.binary(min_size=32, max_size=32), max_size=63).map(tuple),
)


@given(st.lists(entries, max_size=5), st.sampled_from(["null", "deflate"]))
def test_entries_round_trip(found: list[BundleEntry], codec: str) -> None:
    file = io.BytesIO()
    write_entries(file, found, codec)
    file.seek(0)
    assert list(read_entries(file)) == found
