"""The chapter in which somebody tampers: three attacks on copies, and how each is found."""

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from audit.demo.copies import Copy, copy_ledger
from audit.demo.stage import DemoFailed, Stage
from audit.demo.tamper import Position, delete_row, edit_entry, rewrite_history

FORGED_AMOUNT = 500
FORGED_STATUS = "Late (30 days)"
ROOT_KEY = "audit.key"


class Kept(NamedTuple):
    """What is attacked, and the receipts that were handed out, oldest first."""

    inquiry: Position
    correction: Position
    receipts: Sequence[str]


class Attacks:
    """Tells the attacks on a stage."""

    def __init__(self, stage: Stage, kept: Kept, name: Callable[[Position], str]) -> None:
        """`name` says how an entry is named here."""
        self._stage = stage
        self._kept = kept
        self._name = name

    def tell(self) -> None:
        """All three."""
        self._edit()
        self._delete()
        self._rewrite()

    def _where(self, at: Position) -> str:
        log = f"log = {at.log} AND " if self._stage.place.several_logs else ""
        return f'WHERE {log}"index" = {at.index}'

    def _copy(self, name: str) -> Copy:
        copy = copy_ledger(self._stage.folder, self._stage.place, name)
        self._stage.shown_as[copy.url] = copy.shown
        return copy

    def _edit(self) -> None:
        at = self._kept.inquiry
        self._stage.say(f"First: the amount in entry {self._name(at)} becomes {FORGED_AMOUNT}.")
        copy = self._copy("edited")
        change = f"UPDATE entries SET leaf = (5000 -> {FORGED_AMOUNT}) {self._where(at)}"
        self._stage.show(copy.typed(change))
        edit_entry(copy, at, {"LoanAmount": FORGED_AMOUNT})
        self._caught(copy, at)

    def _delete(self) -> None:
        at = self._kept.inquiry
        self._stage.say(f"Second: entry {self._name(at)} is deleted.")
        copy = self._copy("deleted")
        self._stage.show(copy.typed(f"DELETE FROM entries {self._where(at)}"))
        delete_row(copy, at)
        self._caught(copy, at)

    def _rewrite(self) -> None:
        stage, at = self._stage, self._kept.correction
        others = (
            " Log 0 has signed what the root of that log was, so he rewrites log 0 in the same way."
        )
        stage.say(
            f"""Third: an insider who also has the log's signing key wants the correction, entry
            {self._name(at)}, never to have been made. He deletes the log from there on, appends it
            again with "{FORGED_STATUS}" in its place and all recorded times as they were, signs it
            as the log does, and puts the triggers back.{others if at.log else ""}"""
        )
        copy = self._copy("rewritten")
        rewrite_history(copy, stage.folder / ROOT_KEY, at, {"PaymentStatus": FORGED_STATUS})
        stage.say("Taken by itself, this is a flawless ledger. Look at the first NOT PROVEN line:")
        stage.audit("verify", "--store", copy.url)
        thing = "database" if stage.place.is_postgresql else "file"
        fits = "the older one fits, so all up to the prediction is genuine; the newer one does not"
        if stage.place.several_logs:
            fits = """the prediction's and the auditor's fit, so their logs are genuine up to there;
                the newest one does not"""
        stage.say(
            f"""But there are the receipts. Each holds a checkpoint that the log signed when it was
            made: {fits}, and nothing that anybody writes into this {thing} can make it fit."""
        )
        options = [word for name in self._kept.receipts for word in ("--checkpoint", name)]
        self._caught(copy, at, *options)
        if stage.place.bus is not None:
            stage.say(
                """And no consumer writes on. Each checkpoint is in a topic of the broker as well;
                before a consumer appends to a ledger it compares the two."""
            )
            stage.consume(copy.url, expect=1)

    def _caught(self, copy: Copy, at: Position, *options: str) -> None:
        """Verification must fail and name the first bad entry."""
        command = ("verify", "--store", copy.url, *options)
        report: dict[str, Any] = json.loads(self._stage.quietly(*command, "--json"))
        self._stage.audit(*command, expect=1)
        found = [
            f["index"] for log in report["logs"] if log["log"] == at.log for f in log["findings"]
        ]
        if report["verdict"] != "tampered" or min(found, default=None) != at.index:
            raise DemoFailed(f"the tampering with entry {self._name(at)} was not located")
