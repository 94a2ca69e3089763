"""The `audit` command: which commands there are, for whom, and where their code is."""

import click

from audit import __version__
from audit.cli.lazy import App, Lazy
from audit.cli.session import Session

START, APPLICATIONS = "To begin with", "Applications: record and read data"
AUDITORS, ML = "Auditors: check and prove", "Machine learning"
OPERATORS = "Operators: keep it running"
FOLDERS = {
    START: "start",
    APPLICATIONS: "applications",
    AUDITORS: "auditors",
    ML: "ml",
    OPERATORS: "operators",
}


def _command(name: str, audience: str, help_line: str) -> Lazy:
    module = "import_" if name == "import" else name.replace("-", "_")
    return Lazy(f"audit.cli.{FOLDERS[audience]}.{module}", module, audience, help_line)


COMMANDS = {
    "demo": _command("demo", START, "The whole story on real data, in under a minute."),
    "init": _command("init", START, "Create a ledger: store, signing key and policy."),
    "emit": _command("emit", APPLICATIONS, "Record one event: create, update or delete a row."),
    "import": _command("import", APPLICATIONS, "Record a CSV, JSONL or Parquet file as events."),
    "replay": _command("replay", APPLICATIONS, "A dataset or row as it was; a prediction again."),
    "history": _command("history", APPLICATIONS, "All versions of one thing."),
    "blame": _command("blame", APPLICATIONS, "Who set each field of a row, when and why."),
    "diff": _command("diff", APPLICATIONS, "What changed between two points."),
    "log": _command("log", APPLICATIONS, "The events, newest first."),
    "sql": _command("sql", APPLICATIONS, "Read-only SQL over events and datasets, at any point."),
    "export": _command(
        "export", APPLICATIONS, "Parquet for other engines, with a signed manifest."
    ),
    "verify": _command("verify", AUDITORS, "Check the ledger, one entry, a bundle or a receipt."),
    "show": _command("show", AUDITORS, "One entry: event, position, hashes and who signed."),
    "prove": _command("prove", AUDITORS, "Write a receipt: one entry that verifies alone."),
    "bundle": _command("bundle", AUDITORS, "Write the offline file for an auditor."),
    "runs": _command("runs", ML, "Component and training runs, failed ones too; two compared."),
    "serving": _command("serving", ML, "Which version of a model served when, and who approved."),
    "flag": _command("flag", ML, "Mark something as wrong."),
    "unflag": Lazy("audit.cli.ml.flag", "unflag", ML, "Take the flags of something back."),
    "review": _command("review", ML, "What is flagged, and the runs and data that it shares."),
    "predictions": _command("predictions", ML, "Find predictions, by customer and day."),
    "trace": _command("trace", ML, "What a thing was made from, and what was made from it."),
    "trace-diff": _command("trace-diff", ML, "How the lineage of two things differs."),
    "drift": _command("drift", ML, "Inputs and outputs now against then; subgroups; skew."),
    "consume": _command("consume", OPERATORS, "Seal what a Kafka topic holds."),
    "capture": _command("capture", OPERATORS, "A business database's changes into the ledger."),
    "relay": _command("relay", OPERATORS, "Bring an application's outbox into the ledger."),
    "reconcile": _command(
        "reconcile", OPERATORS, "Compare a dataset with its live table: what capture missed."
    ),
    "status": _command("status", OPERATORS, "Logs, sizes, checkpoints: the first thing to type."),
    "key": _command("key", OPERATORS, "The log's and the producers' keys."),
    "readmodel": Lazy(
        "audit.cli.operators.read_model",
        "read_model",
        OPERATORS,
        "The columns that fast answers come from: build, status, drop.",
    ),
    "quarantine": _command("quarantine", OPERATORS, "What could not be accepted, and why."),
    "serve": _command("serve", OPERATORS, "The web view of a ledger, and its read API."),
}

LATER = (
    *("tiles", "witness", "timestamp"),
    *("recover", "erase", "subject"),
)
"""Names of commands that are promised, and not there yet."""


@click.group(
    cls=App,
    lazy=COMMANDS,
    later=LATER,
    context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 100},
)
@click.version_option(__version__, message="attestory %(version)s")
@click.pass_obj
def app(session: Session) -> None:
    """An audit log that can be checked: emit, seal, replay, verify.

    Times: 2026-01-31, 2026-01-31T10:00:00Z, now, -7d, yesterday. Positions: HEAD, HEAD~10, an
    index, sha256:HEX, an event id. Things: user/5, prediction/ID, model/NAME@VERSION.

    Exit codes: 0 done, 1 findings, 2 the call was wrong, 3 something is not reachable.
    """
    session.use_settings()
