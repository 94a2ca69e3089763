"""The story of the demo, chapter by chapter. Every command in it is one that a user would type."""

import json
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from audit.demo.attacks import Attacks, Kept
from audit.demo.place import find_place
from audit.demo.stage import Command, DemoFailed, Stage, check_folder, prepare
from audit.demo.tamper import Position
from audit.errors import Unavailable

CUSTOMER = "003"
INQUIRY = "1003"
PREDICTION_RECEIPT = "prediction.tlog-proof"
AUDITORS_RECEIPT = "auditors.tlog-proof"
CORRECTION_RECEIPT = "correction.tlog-proof"


def run_demo(
    command: Command,
    folder: Path | None = None,
    store: str | None = None,
    bus: str | None = None,
) -> None:
    """Tell the story in `folder` (a temporary one without it), which stays for looking around.

    `store`: where the ledger is, a file in the folder by default. `bus`: a Kafka topic that events
    go through; by default they go straight to the store. Raises Unavailable without scikit-learn,
    InvalidInput when something of somebody's is where the demo was told to play, DemoFailed when a
    command does something else than the story tells.
    """
    if find_spec("sklearn") is None:
        raise Unavailable(
            "the demo trains a model and needs scikit-learn: pip install 'attestory[ml]'"
        )
    if folder is not None:
        check_folder(folder)
    place = find_place(store, bus)
    if folder is None:
        folder = Path(tempfile.mkdtemp(prefix="attestory-demo-"))
    prepare(folder)
    begin = time.monotonic()
    _Story(Stage(folder.resolve(), place, command)).tell()
    seconds = time.monotonic() - begin
    print(f"\nThe demo took {seconds:.0f} seconds. Its folder stays: {folder.resolve()}")


class _Story:
    """What the chapters tell each other: positions, ids, keys."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.place = stage.place
        self.as_of = ""
        self.prediction = ""
        self.correction = Position(0, 0)
        self.receipts = [PREDICTION_RECEIPT]

    def tell(self) -> None:
        """All chapters in order."""
        self.stage.say(
            """What happens to data is written into a log that cannot be changed unseen. This is how
            it is used, step by step. Every line after a $ is a command that you can type."""
        )
        if self.place.settings:
            self.stage.say(self.place.introduction)
            print()
            for line in self.stage.settings:
                print(f"$ {line}")
        self.seal()
        self.users()
        self.train()
        self.correct()
        self.go_back()
        self.complaint()
        self.verify()
        self.prove()
        self.tamper()
        self.end()

    def seal(self) -> None:
        stage = self.stage
        stage.chapter(
            "A ledger, and ten loan inquiries in it",
            self.place.ledger,
        )
        stage.audit("init", "--origin", self.place.origin)
        stage.say(
            """A table from a bank's back office becomes ten events. Each row says when it became
            true in the world (InquiryDate); the log notes by itself when it was told."""
        )
        stage.file("inquiries.csv")
        stage.audit(
            *("import", "inquiries.csv", "--entity", "inquiry", "--key", "InquiryID"),
            *("--valid-time", "InquiryDate"),
        )
        if self.place.bus is not None:
            stage.say(
                """The events are safe in the topic. A consumer, which in earnest always runs,
                seals them: it gives them index, recorded time and hash, and signs."""
            )
            stage.consume()
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
        self.sealed()
        stage.say("The row is gone; what happened to it is not.")
        stage.audit("replay", "user/5")
        stage.audit("history", "user/5")
        stage.audit("replay", "user/5", "--as-of", moved)
        stage.say("One entry in full: who signed it, and what no signature can show.")
        stage.audit("show", moved)

    def train(self) -> None:
        stage = self.stage
        newest = max(self.logs(), key=lambda log: str(log["newest_time"]))
        self.as_of = self.name(Position(newest["log"], newest["size"] - 1))
        numbers = f"""The log's entries are numbered from 0. The model below learns from the
            inquiries as they were known at entry {self.as_of}: that number"""
        if self.place.several_logs:
            numbers = f"""Each log's entries are numbered from 0; an entry is named LOG/INDEX. The
                model below learns from the inquiries as they were known at entry {self.as_of}, in
                the other logs up to the time when that was recorded: that name"""
        stage.chapter(
            "A model is trained on the data as of a cited point, and makes a prediction",
            f"""{numbers} is all that it takes to get the very
            same data again. Then it is asked about customer {CUSTOMER} as of June 2020. Training
            run, model and prediction are events too.""",
        )
        stage.file("credit_model.py")
        printed = stage.python("credit_model.py", self.as_of)
        self.prediction = printed.strip().split("\n")[-1]
        if not self.prediction.startswith("prediction/"):
            raise DemoFailed("the model program did not name its prediction")
        self.sealed()
        stage.audit("predictions", f"key:{CUSTOMER}", "--format", "csv")
        stage.say(
            """The customer is handed a receipt: the recorded prediction, and the log's signature
            that it stands there. Chapter 8 says what it is good for."""
        )
        prediction_id = self.prediction.removeprefix("prediction/")
        stage.audit("prove", prediction_id, "-o", PREDICTION_RECEIPT)
        if self.place.several_logs:
            log = self.version_of_inquiry(0).log
            stage.say(
                f"""That receipt vouches for the log that the prediction is in; the key of a row
                decides on its log. An auditor keeps a receipt of the newest entry of log {log},
                which has the history of inquiry {INQUIRY}."""
            )
            stage.audit("prove", f"{log}/HEAD", "-o", AUDITORS_RECEIPT)
            self.receipts.append(AUDITORS_RECEIPT)

    def correct(self) -> None:
        stage = self.stage
        stage.chapter(
            "The bank finds a mistake",
            f"""Inquiry {INQUIRY} was not late at all: the payment had been booked to another
            account. The correction is true from the day of the inquiry on, but it is known only
            from now on. Nothing is overwritten.""",
        )
        stage.audit(
            *("emit", "update", "inquiry", INQUIRY, '{"PaymentStatus": "Current"}'),
            *("--valid-time", "2020-03-05", "--actor", "clerk"),
            *("--reason", "payment was booked to another account", "--json"),
        )
        self.sealed()
        self.correction = self.version_of_inquiry(-1)
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

    def complaint(self) -> None:
        stage = self.stage
        stage.chapter(
            "The customer complains",
            f"""Customer {CUSTOMER} was refused on account of this prediction. First: is the record
            right? The model, its code and the values that it was given are fetched by their
            fingerprints, the features are made again from the data as it was known then, the
            prediction is run again in a process of its own, and compared bit by bit.""",
        )
        stage.audit("replay", self.prediction)
        stage.say(
            f"""It was, and the correction does not change what the model saw then. Second: what was
            it made from? All the way back to the code, the parameters, the data of the training,
            and the rows behind the features. There is the cause: inquiry {INQUIRY} was corrected
            after it had been used."""
        )
        stage.audit("trace", self.prediction)
        stage.say("Third: who else is touched by that row?")
        stage.audit("trace", f"inquiry/{INQUIRY}", "--downstream")
        stage.say("The prediction is marked as wrong. Marks are entries like all others.")
        stage.audit(
            "flag", self.prediction, "-m", "the customer never was late", "--actor", "carol"
        )
        stage.audit("review")

    def verify(self) -> None:
        stage = self.stage
        stage.chapter(
            "Was anything changed?",
            """Every entry holds the fingerprint (a hash) of the one before it, and the log has
            signed a fingerprint of the whole after each write: a checkpoint. verify computes all of
            it again from the stored bytes, and says also what it cannot know.""",
        )
        if self.place.bus is None:
            stage.audit("verify")
            return
        stage.say(
            """The broker still has the messages that the logs were made from: --source compares the
            two as well, offset by offset."""
        )
        stage.audit("verify", "--source")

    def prove(self) -> None:
        stage = self.stage
        stage.chapter(
            "One entry that proves itself",
            f"""A receipt holds one entry, here the correction of inquiry {INQUIRY}, a handful of
            hashes and a signed checkpoint. Whoever has it needs neither the ledger nor us: the
            public key {"of its log " if self.place.several_logs else ""}is enough.""",
        )
        stage.audit("prove", self.name(self.correction), "-o", CORRECTION_RECEIPT)
        vkey = next(log["vkey"] for log in self.logs() if log["log"] == self.correction.log)
        stage.audit("verify", CORRECTION_RECEIPT, "--key", vkey)
        self.receipts.append(CORRECTION_RECEIPT)
        stage.say("Keep both receipts. They will matter in a moment.")

    def tamper(self) -> None:
        inquiry = self.version_of_inquiry(0)
        self.stage.chapter(
            "Now somebody tampers",
            f"""Three attacks, each on a copy of the ledger, with raw SQL. The database refuses
            changes by triggers; {self.place.attacker} first. Entry
            {self.name(inquiry)} is inquiry {INQUIRY} with its amount of 5000.""",
        )
        kept = Kept(inquiry, self.correction, self.receipts)
        Attacks(self.stage, kept, self.name).tell()

    def sealed(self) -> None:
        """With a bus: let a consumer seal what was sent."""
        if self.place.bus is not None:
            self.stage.consume(only="ended")

    def name(self, at: Position) -> str:
        """A position as it is typed: the log's number is needed where there are several."""
        return f"{at.log}/{at.index}" if self.place.several_logs else str(at.index)

    def logs(self) -> list[dict[str, Any]]:
        """The logs, as `audit status` has them."""
        logs: list[dict[str, Any]] = json.loads(self.stage.quietly("status", "--json"))["logs"]
        return logs

    def version_of_inquiry(self, number: int) -> Position:
        """Where a version of the story's inquiry is recorded."""
        versions = json.loads(self.stage.quietly("history", f"inquiry/{INQUIRY}", "--json"))
        version = versions["versions"][number]
        return Position(version["log"], version["index"])

    def end(self) -> None:
        self.stage.chapter(
            "What you have seen",
            """Data recorded with who, when and why; any earlier state rebuilt on both axes of time;
            a prediction made again, bit by bit; and three ways to forge the record, each found and
            located. The last one is found only by whoever kept something from before: so hand out
            receipts, and keep them.""",
        )
        print(f"\nTry next, in {self.stage.folder}:\n")
        for line in self.stage.settings:
            print(f"    {line}")
        print(
            "    audit status\n"
            "    audit log -n 5\n"
            f"    audit show {self.prediction}\n"
            f"    audit replay {self.prediction} --set late=0      # what if?\n"
            "    audit bundle entity:inquiry -o case.zip             # the file for an auditor\n"
            "    audit --help"
        )
        if self.place.left_over:
            # Names to be copied: a paragraph would break them at their hyphens.
            print(f"\n{self.place.left_over}")
