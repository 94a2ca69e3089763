"""A table given out piece by piece, and what it was read from given back, however it ends."""

from contextlib import ExitStack

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from audit.web.answer import Table
from audit.web.forms import CSV, MEDIA_TYPES, csv_stream, parquet_stream


class TableResponse(StreamingResponse):
    """The rows of a table as CSV or Parquet.

    Who asks may go away in the middle, or before the first byte: `held` is closed all the same.
    """

    def __init__(self, table: Table, form: str, file_name: str, held: ExitStack) -> None:
        """`file_name`: of harmless characters."""
        self._pieces = csv_stream(table) if form == CSV else parquet_stream(table)
        self._held = held
        super().__init__(
            self._pieces,
            media_type=MEDIA_TYPES[form],
            headers={"content-disposition": f'attachment; filename="{file_name}"'},
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            # No thread works on it any more: a cancelled request waits for its own.
            with self._held:
                self._pieces.close()
