"""The story of the demo, chapter by chapter. Every command in it is one that a user would type."""

import json
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from audit.demo.stage import Command, DemoFailed, Stage, prepare
from audit.demo.tamper import copy_ledger, delete_row, edit_entry, rewrite_tail
from audit.errors import Unavailable

CUSTOMER = "003"
INQUIRY = "1003"
FORGED_AMOUNT = 500
FORGED_STATUS = "Late (30 days)"
PREDICTION_RECEIPT = "prediction.tlog-proof"
CORRECTION_RECEIPT = "correction.tlog-proof"


def run_demo(command: Command, folder: Path | None = None) -> None:
    """Tell the story in `folder` (a temporary one without it), which stays for looking around.

    Raises Unavailable without scikit-learn, InvalidInput when the folder holds somebody's files,
    DemoFailed when a command does something else than the story tells.
    """
    if find_spec("sklearn") is None:
        raise Unavailable(
            "the demo trains a model and needs scikit-learn: pip install 'attestory[ml]'"
        )
    if folder is None:
        folder = Path(tempfile.mkdtemp(prefix="attestory-demo-"))
    prepare(folder)
    begin = time.monotonic()
    _Story(Stage(folder.resolve(), command)).tell()
    seconds = time.monotonic() - begin
    print(f"\nThe demo took {seconds:.0f} seconds. Its folder stays: {folder.resolve()}")


class _Story:
    """What the chapters tell each other: positions, ids, keys."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.vkey = ""
        self.as_of = ""
        self.prediction = ""
        self.correction = 0

    def tell(self) -> None:
        """All chapters in order."""
        self.stage.say(
            """What happens to data is written into a log that cannot be changed unseen. This is how
            it is used, step by step. Every line after a $ is a command that you can type."""
        )
        self.seal()
        self.users()
        self.train()
        self.correct()
        self.go_back()
        self.replay_prediction()
        self.verify()
        self.prove()
        self.tamper()
        self.end()

    def seal(self) -> None:
        stage = self.stage
        stage.chapter(
            "A ledger, and ten loan inquiries in it",
            """A ledger is one SQLite file. Its log signs what it records; the line that init prints
            is the public key with which anybody can check that signature.""",
        )
        self.vkey = stage.audit("init", "--origin", "demo.example/credit").strip()
        stage.say(
            """A table from a bank's back office becomes ten events. Each row says when it became
            true in the world (InquiryDate); the log notes by itself when it was told."""
        )
        stage.file("inquiries.csv")
        stage.audit(
            *("import", "inquiries.csv", "--entity", "inquiry", "--key", "InquiryID"),
            *("--valid-time", "InquiryDate"),
        )
        stage.audit("replay", "inquiry")

    def users(self) -> None:
        stage = self.stage
        stage.chapter(
            "A user is created, moves, and is deleted",
            """Now an application, called crm, writes. It signs each event with a key of its own:
            the log vouches for when and where an event was recorded, crm for having said it. The
            key's public half goes into the policy: the list of whom a checker trusts.""",
        )
        stage.audit("key", "new", "crm", into="audit.policy")
        signed = ("--source", "crm", "--key", "crm.key", "--actor", "alice")
        row = '{"name": "Christian", "dpt": "SCS"}'
        stage.audit("emit", "create", "user", "5", row, *signed)
        moved = stage.audit("emit", "update", "user", "5", '{"dpt": "ISR"}', *signed).strip()
        stage.audit("emit", "delete", "user", "5", *signed, "--reason", "asked to be removed")
        stage.say("The row is gone; what happened to it is not.")
        stage.audit("replay", "user/5")
        stage.audit("history", "user/5")
        stage.audit("replay", "user/5", "--as-of", moved)
        stage.say("One entry in full: who signed it, and what no signature can show.")
        stage.audit("show", moved)

    def train(self) -> None:
        stage = self.stage
        status = json.loads(stage.quietly("status", "--json"))
        self.as_of = str(status["logs"][0]["size"] - 1)
        stage.chapter(
            "A model is trained on the data as of a cited point, and makes a prediction",
            f"""The log's entries are numbered from 0. The model below learns from the inquiries as
            they were known at entry {self.as_of}: that number is all that it takes to get the very
            same data again. Then it is asked about customer {CUSTOMER} as of June 2020. Training
            run, model and prediction are events too.""",
        )
        stage.file("credit_model.py")
        printed = stage.python("credit_model.py", self.as_of)
        self.prediction = printed.strip().split("\n")[-1]
        if not self.prediction.startswith("prediction/"):
            raise DemoFailed("the model program did not name its prediction")
        stage.audit("predictions", f"key:{CUSTOMER}", "--format", "csv")
        stage.say(
            """The customer is handed a receipt: the recorded prediction, and the log's signature
            that it stands there. Chapter 8 says what it is good for."""
        )
        prediction_id = self.prediction.removeprefix("prediction/")
        stage.audit("prove", prediction_id, "-o", PREDICTION_RECEIPT)

    def correct(self) -> None:
        stage = self.stage
        stage.chapter(
            "The bank finds a mistake",
            f"""Inquiry {INQUIRY} was not late at all: the payment had been booked to another
            account. The correction is true from the day of the inquiry on, but it is known only
            from now on. Nothing is overwritten.""",
        )
        text = stage.audit(
            *("emit", "update", "inquiry", INQUIRY, '{"PaymentStatus": "Current"}'),
            *("--valid-time", "2020-03-05", "--actor", "clerk"),
            *("--reason", "payment was booked to another account", "--json"),
        )
        self.correction = int(json.loads(text)["index"])
        stage.audit("history", f"inquiry/{INQUIRY}")
        stage.audit("blame", f"inquiry/{INQUIRY}")

    def go_back(self) -> None:
        stage = self.stage
        stage.chapter(
            "The data as it was, on two axes of time",
            f"""--valid-at asks what was true in the world at a time; --as-of asks what was known at
            a time. Customer {CUSTOMER} in June 2020, as known when the model was trained, had one
            inquiry, and it was late:""",
        )
        csv = ("replay", "inquiry", "--format", "csv")
        then = ("--as-of", self.as_of)
        june, september = ("--valid-at", "2020-06-01"), ("--valid-at", "2020-09-01")
        stage.audit(*csv, *then, *june, only=CUSTOMER)
        stage.say("In September 2020 there were two, still as known then:")
        stage.audit(*csv, *then, *september, only=CUSTOMER)
        stage.say("And June 2020 as we know it today, after the correction:")
        stage.audit(*csv, *june, only=CUSTOMER)
        stage.say("What the correction changed, and nothing else changed:")
        stage.audit("diff", "inquiry", f"{self.as_of}..HEAD")

    def replay_prediction(self) -> None:
        self.stage.chapter(
            "The prediction, made again",
            """The customer complains. The model, its code and the values that it was given are
            fetched by their fingerprints, the prediction is run again in a process of its own, and
            compared bit by bit. The correction does not change what the model saw then.""",
        )
        self.stage.audit("replay", self.prediction)

    def verify(self) -> None:
        stage = self.stage
        stage.chapter(
            "Was anything changed?",
            """Every entry holds the fingerprint (a hash) of the one before it, and the log has
            signed a fingerprint of the whole after each write: a checkpoint. verify computes all of
            it again from the stored bytes, and says also what it cannot know.""",
        )
        stage.audit("verify")

    def prove(self) -> None:
        stage = self.stage
        stage.chapter(
            "One entry that proves itself",
            f"""A receipt holds one entry, here the correction of inquiry {INQUIRY}, a handful of
            hashes and a signed checkpoint. Whoever has it needs neither the ledger nor us: the
            public key is enough.""",
        )
        stage.audit("prove", str(self.correction), "-o", CORRECTION_RECEIPT)
        stage.audit("verify", CORRECTION_RECEIPT, "--key", self.vkey)
        stage.say("Keep both receipts. They will matter in a moment.")

    def tamper(self) -> None:
        stage = self.stage
        index = self._index_of_inquiry()
        stage.chapter(
            "Now somebody tampers",
            f"""Three attacks, each on a copy of the ledger, with raw SQL. The database refuses
            changes by triggers; the attacker owns the file and drops them first. Entry {index} is
            inquiry {INQUIRY} with its amount of 5000.""",
        )
        self._attack_edit(index)
        self._attack_delete(index)
        self._attack_rewrite()

    def _index_of_inquiry(self) -> int:
        versions = json.loads(self.stage.quietly("history", f"inquiry/{INQUIRY}", "--json"))
        return int(versions["versions"][0]["index"])

    def _attack_edit(self, index: int) -> None:
        stage = self.stage
        stage.say(f"First: the amount in entry {index} becomes {FORGED_AMOUNT}.")
        database = copy_ledger(stage.folder, stage.folder / "edited")
        stage.show(
            f'sqlite3 edited/audit.db "DROP TRIGGER ...; UPDATE entries SET leaf = '
            f'(5000 -> {FORGED_AMOUNT}) WHERE \\"index\\" = {index}"'
        )
        edit_entry(database, index, {"LoanAmount": FORGED_AMOUNT})
        self._caught("edited", index)

    def _attack_delete(self, index: int) -> None:
        stage = self.stage
        stage.say(f"Second: entry {index} is deleted.")
        database = copy_ledger(stage.folder, stage.folder / "deleted")
        stage.show(
            f'sqlite3 deleted/audit.db "DROP TRIGGER ...; DELETE FROM entries '
            f'WHERE \\"index\\" = {index}"'
        )
        delete_row(database, index)
        self._caught("deleted", index)

    def _attack_rewrite(self) -> None:
        stage = self.stage
        stage.say(
            f"""Third: an insider who also has the log's signing key wants the correction, entry
            {self.correction}, never to have been made. He deletes the log from there on, appends it
            again with "{FORGED_STATUS}" in its place and all recorded times as they were, signs it
            as the log does, and puts the triggers back."""
        )
        database = copy_ledger(stage.folder, stage.folder / "rewritten")
        rewrite_tail(database, self.correction, {"PaymentStatus": FORGED_STATUS})
        stage.say("Taken by itself, this is a flawless ledger. Look at the first NOT PROVEN line:")
        stage.audit("verify", "--store", "sqlite:///rewritten/audit.db")
        stage.say(
            """But there are the receipts. Each holds a checkpoint that the log signed when it was
            made: the older one fits, so all up to the prediction is genuine; the newer one does
            not, and nothing that anybody writes into this file can make it fit."""
        )
        kept = ("--checkpoint", PREDICTION_RECEIPT, "--checkpoint", CORRECTION_RECEIPT)
        self._caught("rewritten", self.correction, *kept)

    def _caught(self, copy: str, index: int, *options: str) -> None:
        """Verification must fail and name the first bad index."""
        command = ("verify", "--store", f"sqlite:///{copy}/audit.db", *options)
        report = json.loads(self.stage.quietly(*command, "--json"))
        self.stage.audit(*command, expect=1)
        found = [f["index"] for log in report["logs"] for f in log["findings"]]
        if report["verdict"] != "tampered" or min(found, default=None) != index:
            raise DemoFailed(f"the tampering with entry {index} was not located")

    def end(self) -> None:
        self.stage.chapter(
            "What you have seen",
            """Data recorded with who, when and why; any earlier state rebuilt on both axes of time;
            a prediction made again, bit by bit; and three ways to forge the record, each found and
            located. The last one is found only by whoever kept something from before: so hand out
            receipts, and keep them.""",
        )
        print(
            f"\nTry next, in {self.stage.folder}:\n\n"
            "    audit status\n"
            "    audit log -n 5\n"
            f"    audit show {self.prediction}\n"
            f"    audit replay {self.prediction} --set late=0      # what if?\n"
            "    audit bundle entity:inquiry -o case.zip             # the file for an auditor\n"
            "    audit --help"
        )
