"""Capture of an application's writes through SQLAlchemy 2: `install(engine)`.

Every INSERT, UPDATE and DELETE that goes through the engine - flushes, ORM-enabled statements,
`bulk_*`, Core - is written down in `attestory_outbox`, in its own transaction: rolled back, or
committed, with what it tells of. See `hooks.install`.
"""

from audit.capture.sqlalchemy.hooks import GAP, RAISE, Installed, install

__all__ = ["GAP", "RAISE", "Installed", "install"]
