"""Every code a report may use, with the sentence that explains it to somebody new.

Findings decide the verdict: those of TAMPERED say that what is stored contradicts itself or what
was signed; those of CANNOT_TELL say that there is nothing to judge by. Warnings leave the verdict
alone. NOT_PROVEN says what no check of this kind can show.
"""

TAMPERED = {
    "beyond_checkpoint": "A claimed position lies above the signed tree head.",
    "bundle_differs": "A part of the bundle is not what its manifest says.",
    "chain_broken": "Each entry holds the fingerprint of the one before it; here they do not fit.",
    "checkpoint_differs": "A signed tree head does not fit the entries that are stored.",
    "checkpoint_malformed": "A stored checkpoint is not a signed tree head.",
    "checkpoint_origin": "A stored checkpoint belongs to another log.",
    "checkpoint_signature": "A checkpoint's signature claims a pinned key and is wrong.",
    "checkpoint_size": "A stored checkpoint is filed under another size than it signs.",
    "column_differs": "An index column says something else than the entry it belongs to.",
    "conflicting_event": "Two entries have the same event id and say different things.",
    "duplicate_event": "The same event is recorded twice.",
    "duplicate_index": "Two rows claim the same position.",
    "entry_malformed": "What is stored at this position is not an entry.",
    "equivocation": "Two different tree heads of the same size are signed.",
    "heads_differ": "Log 0, which signs how far each log is, says something else of this one.",
    "history_rewritten": "The entries are not those that an earlier signed checkpoint covered.",
    "inclusion": "The proof does not lead from the entry to the signed tree head.",
    "index_differs": "An index of the database leaves out, or makes up, rows of its table.",
    "log_missing": "A log that is known to exist is not in the store.",
    "log_row_differs": "The store or bundle names another key or origin than its checkpoints.",
    "log_twice": "The store has two logs of one name; only one of them can be that log.",
    "missing_entry": "An entry that must be there is gone.",
    "producer_signature": "A producer's signature claims a pinned key and is wrong.",
    "recorded_time": "Recorded time does not increase from one entry to the next.",
    "retry_differs": "A retried entry is not the message that had been quarantined.",
    "rolled_back": "The store holds less than an earlier signed checkpoint covered.",
    "row_malformed": "A row holds values of a kind that the ledger never writes.",
    "schema_changed": "The database's own tables, indexes or views are not those of a ledger.",
    "schema_differs": "A schema's bytes do not have the digest that is its name.",
    "source_differs": "The source holds another message than the log has for that offset.",
    "source_gap": "Positions of the source were skipped without being accounted for.",
    "source_missing": "The source holds a message that the log left out.",
    "source_overlap": "Positions of the source were recorded twice or out of order.",
    "source_recreated": "The source ends before the log does: it was made anew, or lost data.",
    "table_replaced": "A table of the ledger is gone, or something else stands in its place.",
    "tile_differs": "A stored tile (256 entry fingerprints) does not fit the entries.",
    "tile_extra": "A tile is stored that the log is too short to have.",
    "tile_missing": "A tile that commits with its entries is gone.",
    "truncated": "A signed checkpoint covers more entries than are stored.",
    "uncovered_tail": "The newest entries are under no signed checkpoint.",
    "wrong_index": "An entry says that it belongs to another position.",
}
"""Finding code -> what it means. One of these makes the verdict `tampered`."""

CANNOT_TELL = {
    "checkpoint_unusable": "A checkpoint that was given cannot be used as evidence.",
    "empty": "There is no entry to check.",
    "log_absent": "The policy names a log that the store does not have.",
    "no_checkpoint": "No signed tree head is stored, so nothing vouches for the entries.",
    "no_policy": "No key was given to check signatures with.",
    "quorum_not_met": "The policy asks for witnesses, and their cosignatures are not there.",
    "start_unproven": "The state before the start could not be tied to a signed checkpoint.",
    "unknown_key": "A checkpoint is signed, but by no key that the policy names for this log.",
    "unreadable": "Something could not be read.",
}
"""Finding code -> what it means. Without a tampered one, the verdict is `cannot_tell`."""

WARNINGS = {
    "checkpoint_missing": "The store lost a checkpoint that somebody else still has.",
    "drift": "A change names an earlier state that was never recorded: some change was missed.",
    "event_id_conflict": "Messages came in with the id of an earlier event but other content.",
    "event_id_in_two_logs": "Two logs record an event with the same source and id.",
    "guard_changed": "A guard that keeps the tables append-only was replaced.",
    "guard_missing": "A guard that keeps the tables append-only is gone.",
    "guard_open": "Somebody but its owner has the right to change what a table recorded.",
    "guard_unknown": "A trigger or rule acts on the store that the ledger did not make.",
    "log_unannounced": "Log 0 does not say that this log was added to the ledger.",
    "look_alike_key": "Two keys look alike: of the policy, or of a dataset's rows.",
    "not_linted": "The ledger is too large to look for drift and look-alike keys on the way.",
    "producer_key_out_of_range": "A producer's key was used outside the range the policy gives it.",
    "producer_gap": "Numbers that a producer gave its events are in no log.",
    "producers_not_followed": "There is too much to look for gaps in the producers' numbers.",
    "source_expired": "Messages left the source before they were read.",
    "source_unread": "A part of the source has no log yet.",
}
"""Warning code -> what it means. Warnings leave the verdict alone."""

NOT_PROVEN = {
    "freshness": "that nothing newer was dropped: give a checkpoint that was kept elsewhere",
    "completeness_at_source": "that everything that happened was sent to the log",
    "truth": "that what producers said is true",
    "key_provenance": "that the keys are the right ones: they come from the machine being checked",
    "selection": "that the query which made this bundle leaves nothing out",
    "prefix_content": "the content of entries before the start: they were not hashed again",
    "source_completeness": "that the log has all that its source held: give --source to compare",
    "expired_at_source": "entries whose messages the source no longer keeps: not compared with it",
    "not_yet_read": "messages that wait in the source: the log does not have them yet",
    "other_logs": "anything about the ledger's other logs",
    "other_entries": "anything about entries that are not in here",
}
"""What is not shown -> the words after "not proven:"."""


def meaning(code: str) -> str:
    """The sentence for any finding or warning code."""
    return TAMPERED.get(code) or CANNOT_TELL.get(code) or WARNINGS.get(code) or ""
