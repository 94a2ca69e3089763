"""Random write forms, savepoints and rollbacks: what was told, folded, is what is there."""

import random
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from audit.capture.sqlalchemy import install
from audit.errors import UnseenWrite
from tests.capture.database.outbox_support import DATABASES
from tests.capture.sqlalchemy.support import NOT_CAPTURED, Application, folded
from tests.capture.sqlalchemy.write_forms import FORMS, POSTGRESQL_ONLY, SQLITE_ONLY

ROUNDS = 25


class _Wanted(Exception):
    """Raised to roll back."""


def step(session: Session, app: Application, chance: random.Random) -> None:
    """One form, in a savepoint now and then; what does not fit the rows that are there fails."""
    aside = SQLITE_ONLY if app.name == "postgresql" else POSTGRESQL_ONLY
    name = chance.choice(sorted(FORMS.keys() - aside))
    try:
        with session.begin_nested():
            FORMS[name](session, app.m)
            session.flush()
            if chance.random() < 0.25:
                raise _Wanted
    except UnseenWrite:
        pass
    except _Wanted:
        pass
    except Exception:
        # A row that the form expects is gone by now, or its key is taken.
        session.expunge_all()


@pytest.mark.parametrize("database", DATABASES)
@pytest.mark.parametrize("number", [1, 2])
def test_folded_rows_are_the_live_tables(
    database: str, number: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    app = Application(database, request, tmp_path)
    install(app.engine, exclude=NOT_CAPTURED)
    chance = random.Random(number)
    done = 0
    for _ in range(ROUNDS):
        try:
            with Session(app.engine) as session, session.begin():
                for _ in range(chance.randrange(1, 4)):
                    step(session, app, chance)
                if chance.random() < 0.2:
                    raise _Wanted
                done += 1
        except _Wanted:
            pass
        except Exception:
            # Whatever SQLAlchemy makes of a session after a failure: nothing was committed.
            continue
    assert done > ROUNDS / 3
    rows = app.rows()
    assert rows
    assert folded(app.seeded, rows) == app.state()
