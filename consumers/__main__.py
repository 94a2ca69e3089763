"""`python -m consumers`: the consumer without the rest of the command line, for containers."""

import sys
from typing import Any

import click

from audit.errors import AuditError
from consumers.command import consume_options, start

WRONG_CALL = 2


@click.command(context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 100})
@consume_options
def consume(**given: Any) -> int:
    """Seal what a Kafka topic holds into the ledger, exactly once.

    Every option can be given in the environment: --linger as AUDIT_LINGER, and so on. Exit codes: 0
    done, 1 something is refused, 2 the call was wrong, 3 something is not reachable.
    """
    return start(**given)


def main() -> int:
    """Run; the exit code."""
    try:
        return int(consume.main(prog_name="python -m consumers", standalone_mode=False) or 0)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.ClickException as error:
        error.show()
        return WRONG_CALL
    except click.Abort:
        return 130
    except AuditError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
