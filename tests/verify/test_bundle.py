"""Bundles: what is in them, reading them like a ledger, checking them with and without this."""

import json
import subprocess
import sys
import zipfile
from hashlib import sha256
from pathlib import Path

import fastavro
import pytest

import audit
from audit.errors import FormatError, InvalidInput, NotFound, StoreMissing, Unproven
from audit.event.canonical import builtin, schema_hash
from audit.event.envelope import decode_event
from audit.log.entry import Kind, decode_entry
from audit.store import open_reader
from audit.store.contract import StoredEntry
from audit.tlog.hashing import leaf_hash
from audit.tlog.merkle import inclusion_proof, root_of
from audit.tlog.proof import verify_inclusion
from audit.verify.bundle import BundleReader, Selection, open_bundle, verify_bundle, write_bundle
from audit.verify.bundle.hashes import edge_root, sibling_ranges, tree_edge
from audit.verify.findings import Verdict
from audit.verify.policy import Policy
from tests.verify.conftest import ORIGIN, POLICY, SIGNER, STRANGER, Ledger, codes, message
from tests.verify.test_verifier import MadeReader, signer_of, two_logs

POSITIONS = [0, 100, 101, 255, 256, 400, 511, 512, 529, 530, 535]


@pytest.fixture
def bundle(ledger: Ledger, tmp_path: Path) -> Path:
    """A few entries from all over the log."""
    path = tmp_path / "case.zip"
    with open_reader(ledger.url) as reader:
        selection = Selection("some of them", [(0, index) for index in POSITIONS])
        write_bundle(reader, selection, path, policy_text=POLICY.to_text())
    return path


@pytest.fixture
def about_user_5(ledger: Ledger, tmp_path: Path) -> Path:
    path = tmp_path / "user5.zip"
    with open_reader(ledger.url) as reader:
        write_bundle(reader, Selection("entity:user key:5", entities=(("user", "5"),)), path)
    return path


def test_a_bundle_verifies_offline(bundle: Path) -> None:
    report = verify_bundle(bundle, POLICY)
    assert report.verdict is Verdict.OK, report.findings
    assert report.not_proven == ("freshness", "completeness_at_source", "truth", "selection")
    log = report.logs[0]
    assert (log.origin, log.size, log.verified_size) == (ORIGIN, 536, 536)
    with open_bundle(bundle) as reader:
        assert log.entries == len(list(reader.leaves(0)))


def test_what_is_needed_to_decode_comes_along(bundle: Path) -> None:
    with open_bundle(bundle) as reader:
        found = {index: decode_entry(leaf) for index, leaf in reader.leaves(0)}
    assert set(POSITIONS) < set(found)
    named = {
        decode_event(entry.event).payload_schema
        for entry in found.values()
        if entry.kind is Kind.EVENT
    }
    events = [decode_event(e.event) for e in found.values() if e.kind is not Kind.QUARANTINED]
    schemas = {schema_hash(e.payload) for e in events if e.type == "schema"}
    assert named - {None} <= schemas
    with zipfile.ZipFile(bundle) as archive:
        names = {n.removeprefix("schemas/")[:64] for n in archive.namelist() if "avsc" in n}
    always = {schema_hash(builtin(name)) for name in ("entry.v1", "event.v1")}
    assert names == {digest.hex() for digest in schemas | always}


def test_the_same_choice_gives_the_same_bytes(ledger: Ledger, bundle: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.zip"
    with open_reader(ledger.url) as reader:
        positions = [(0, index) for index in reversed(POSITIONS)] * 2
        selection = Selection("some of them", positions)
        write_bundle(reader, selection, again, policy_text=POLICY.to_text())
    assert again.read_bytes() == bundle.read_bytes()


def test_the_file_is_an_ordinary_zip_with_an_ordinary_avro_file(bundle: Path) -> None:
    with zipfile.ZipFile(bundle) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == sorted(archive.namelist())
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        manifest = json.loads(archive.read("manifest.json"))
        with archive.open("entries.avro") as file:
            records = list(fastavro.reader(file))
        for name, listed in manifest["members"].items():
            data = archive.read(name)
            assert (len(data), sha256(data).hexdigest()) == (listed["bytes"], listed["sha256"])
    assert manifest["format"] == "attestory-bundle/v1" and manifest["query"] == "some of them"
    assert manifest["counts"]["entries"] == len(records) == manifest["logs"][0]["entries"]
    root = bytes.fromhex(manifest["logs"][0]["root_hash"])
    for record in records:
        verify_inclusion(leaf_hash(record["leaf"]), record["index"], 536, record["proof"], root)


@pytest.mark.parametrize("codec", ["null", "deflate"])
def test_both_codecs(ledger: Ledger, tmp_path: Path, codec: str) -> None:
    path = tmp_path / "case.zip"
    with open_reader(ledger.url) as reader:
        positions = [(0, index) for index in range(536)]
        written = write_bundle(reader, Selection("all", positions), path, codec=codec)
    assert (written.entries, written.chosen, written.logs) == (536, 536, 1)
    assert verify_bundle(path, POLICY).ok
    with zipfile.ZipFile(path) as archive, archive.open("entries.avro") as file:
        assert len(list(fastavro.reader(file))) == 536


def test_the_policy_in_a_bundle_is_not_believed(bundle: Path) -> None:
    report = verify_bundle(bundle, None)
    assert report.verdict is Verdict.CANNOT_TELL and codes(report) == {"no_policy"}
    report = verify_bundle(bundle, Policy.from_vkey(STRANGER.verifier.vkey))
    assert report.verdict is Verdict.CANNOT_TELL and codes(report) == {"unknown_key"}
    with zipfile.ZipFile(bundle) as archive:
        assert b"It proves nothing" in archive.read("policy-as-found.txt")


def test_a_kept_checkpoint_of_the_same_size(ledger: Ledger, bundle: Path) -> None:
    report = verify_bundle(bundle, POLICY, [ledger.attacker.note(536)])
    assert report.ok and "freshness" not in report.logs[0].not_proven
    report = verify_bundle(bundle, POLICY, [ledger.attacker.note(455)])
    assert report.ok and "freshness" in report.not_proven


def test_all_entries_of_an_entity_come_along(ledger: Ledger, about_user_5: Path) -> None:
    with open_reader(ledger.url) as reader, open_bundle(about_user_5) as bundle:
        expected = list(reader.entity(0, "user", "5"))
        assert expected and list(bundle.entity(0, "user", "5")) == expected
        assert list(bundle.entity_keys(0, "user")) == ["5"]
    assert verify_bundle(about_user_5, POLICY).ok


# Reading it like a ledger


def test_a_bundle_reads_like_the_ledger_it_is_of(ledger: Ledger, tmp_path: Path) -> None:
    """With every entry in it, all that a reader answers is the same."""
    path = tmp_path / "all.zip"
    with open_reader(ledger.url) as store:
        size = store.size(0)
        write_bundle(store, Selection("all", [(0, index) for index in range(size)]), path)
        bundle = open_bundle(path)
        assert not bundle.complete
        assert bundle.logs() == store.logs()
        assert bundle.size(0) == size
        assert list(bundle.leaves(0, 10, 20)) == list(store.leaves(0, 10, 20))
        rows = [tuple(row) for block in store.stored_entries(0) for row in block]
        assert [tuple(row) for block in bundle.stored_entries(0) for row in block] == rows
        time = StoredEntry(*rows[200]).recorded_time_us
        for moment in (0, time - 1, time, time + 1, 2**62):
            assert bundle.size_at(0, moment) == store.size_at(0, moment)
        assert bundle.find_event("event-7") == store.find_event("event-7") != []
        assert bundle.find_event("event-7", "web") == []
        digest = leaf_hash(rows[300][1]).hex()
        assert bundle.find_leaf_hash(digest[:10].upper()) == [(0, 300)]
        assert list(bundle.entity(0, "user", None, 300, 100)) == list(
            store.entity(0, "user", None, 300, 100)
        )
        assert list(bundle.keyless(0, "user")) == list(store.keyless(0, "user"))
        assert list(bundle.entity_keys(0, "user", 30)) == list(store.entity_keys(0, "user", 30))
        assert bundle.entity_types(0) == store.entity_types(0)
        assert list(bundle.special(0)) == list(store.special(0))
        assert bundle.counts(0) == store.counts(0)
        assert bundle.newest_checkpoint(0) == store.newest_checkpoint(0)
        assert bundle.covering_checkpoint(0, 537) is None
        source, mine = store.hashes(0, size), bundle.hashes(0, size)
        for index in range(0, size, 7):
            assert inclusion_proof(mine, index, size) == inclusion_proof(source, index, size)


def test_a_bundle_replays_like_its_ledger(ledger: Ledger, about_user_5: Path) -> None:
    with audit.Ledger(ledger.url) as whole, audit.Ledger(f"bundle:///{about_user_5}") as part:
        assert part.replay_row("user/5") == whole.replay_row("user/5")
        assert part.history("user/5") == whole.history("user/5")
        index = part.history("user/5")[1].index
        assert part.replay_row("user/5", as_of=index) == whole.replay_row("user/5", as_of=index)
        assert list(part.replay("user").index) == ["5"]


def test_proofs_can_be_built_again_from_few_entries(ledger: Ledger, bundle: Path) -> None:
    with open_reader(ledger.url) as store, open_bundle(bundle) as reader:
        source, mine = store.hashes(0, 536), reader.hashes(0, 536)
        for index, _ in reader.leaves(0):
            assert inclusion_proof(mine, index, 536) == inclusion_proof(source, index, 536)
        with pytest.raises(NotFound):
            inclusion_proof(mine, 300, 536)
        with pytest.raises(NotFound):
            reader.hashes(0, 535)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 8, 13, 64, 100])
def test_ranges_and_edges_fit_the_tree(size: int) -> None:
    reader = MadeReader()
    reader.add_log(0, signer_of(0), [[message(n) for n in range(size)]])
    source = reader.hashes(0, size)
    root = root_of([leaf_hash(reader.leaf(0, n)) for n in range(size)])
    assert edge_root(tree_edge(source, size)) == root
    for index in range(size):
        ranges = sibling_ranges(index, size)
        assert len(ranges) == len(inclusion_proof(source, index, size))
        covered = sorted([*ranges, (index, index + 1)])
        assert [begin for begin, _ in covered] == [0, *(end for _, end in covered[:-1])]
        assert covered[-1][1] == size


def test_what_the_bundle_leaves_out_is_not_there(bundle: Path) -> None:
    with open_bundle(bundle) as reader:
        with pytest.raises(NotFound):
            reader.leaf(0, 300)
        with pytest.raises(NotFound):
            reader.leaf(5, 0)
        assert reader.size(5) == 0 and list(reader.leaves(5)) == []
        assert reader.find_event("event-200") == []


def test_several_logs_in_one_bundle(tmp_path: Path) -> None:
    reader, policy = two_logs([message(n) for n in range(100, 150)])
    reader.special = lambda log, stop=None: iter(())  # type: ignore[method-assign]
    path = tmp_path / "two.zip"
    write_bundle(reader, Selection("both", [(1, 5), (0, 7)]), path)
    report = verify_bundle(path, policy)
    assert report.ok and [log.entries for log in report.logs] == [2, 2]
    only_one = verify_bundle(path, Policy.from_vkey(signer_of(0).verifier.vkey))
    assert only_one.verdict is Verdict.CANNOT_TELL and codes(only_one) == {"unknown_key"}


def test_what_cannot_be_bundled_is_refused(ledger: Ledger, tmp_path: Path) -> None:
    path = tmp_path / "none.zip"
    with open_reader(ledger.url) as reader:
        with pytest.raises(InvalidInput, match="nothing was chosen"):
            write_bundle(reader, Selection("nothing"), path)
        for position in ((3, 0), (0, 999)):
            with pytest.raises(NotFound):
                write_bundle(reader, Selection("x", [position]), path)
    ledger.attacker.drop_guards()
    ledger.attacker.delete_checkpoints(above=500)
    with open_reader(ledger.url) as reader, pytest.raises(Unproven, match="no checkpoint covers"):
        write_bundle(reader, Selection("x", [(0, 530)]), path)
    ledger.attacker.delete_checkpoints()
    with open_reader(ledger.url) as reader, pytest.raises(Unproven, match="has no checkpoint"):
        write_bundle(reader, Selection("x", [(0, 1)]), path)
    assert list(tmp_path.glob("*none*")) == []


def test_a_missing_bundle(tmp_path: Path) -> None:
    for call in (lambda p: verify_bundle(p, POLICY), open_bundle):
        with pytest.raises(StoreMissing):
            call(tmp_path / "none.zip")
    (tmp_path / "text.zip").write_text("hello")
    with pytest.raises(FormatError):
        BundleReader(tmp_path / "text.zip")


# Without this software


def snippet(bundle: Path) -> str:
    with zipfile.ZipFile(bundle) as archive:
        text = archive.read("HOW-TO-CHECK.txt").decode()
    return text.partition("--- check.py ---\n")[2]


def run_snippet(bundle: Path, key: str, folder: Path) -> subprocess.CompletedProcess[str]:
    program = folder / "check.py"
    program.write_text(snippet(bundle))
    command = [sys.executable, "-I", str(program), str(bundle), key]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder)


def test_the_python_of_how_to_check_works_alone(bundle: Path, tmp_path: Path) -> None:
    assert "audit" not in snippet(bundle)
    done = run_snippet(bundle, SIGNER.verifier.vkey, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"signed: {ORIGIN} has 536 entries\nchecked: ")
    assert run_snippet(bundle, STRANGER.verifier.vkey, tmp_path).returncode != 0


@pytest.mark.parametrize("codec", ["null", "deflate"])
def test_the_python_of_how_to_check_finds_a_change(
    ledger: Ledger, tmp_path: Path, codec: str
) -> None:
    ledger.attacker.drop_guards()
    leaf = ledger.attacker.leaf(100)
    changed = leaf.replace(b"alice", b"malic")
    assert changed != leaf
    ledger.attacker.update_leaf(100, changed)
    path = tmp_path / "case.zip"
    with open_reader(ledger.url) as reader:
        write_bundle(reader, Selection("x", [(0, 99), (0, 100)]), path, codec=codec)
    done = run_snippet(path, SIGNER.verifier.vkey, tmp_path)
    assert done.returncode == 1 and "entry 0/100 is not what the log recorded" in done.stderr
    assert "inclusion" in codes(verify_bundle(path, POLICY))


@pytest.mark.needs("openssl", "unzip", "xxd")
def test_the_shell_of_how_to_check_works(bundle: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(bundle) as archive:
        text = archive.read("HOW-TO-CHECK.txt").decode()
    lines = text.partition("(the first step, for log 0)\n")[2].partition("\nWith Python")[0]
    script = lines.replace("FILE.zip", str(bundle)).replace("'KEY'", f"'{SIGNER.verifier.vkey}'")
    command = ["sh", "-e", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Signature Verified Successfully" in done.stdout
