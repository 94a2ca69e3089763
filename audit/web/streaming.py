"""A table given out piece by piece, and what it was read from given back, however it ends."""

from collections.abc import Iterator
from contextlib import ExitStack
from threading import Lock

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from audit.web.answer import Table
from audit.web.forms import CSV, MEDIA_TYPES, csv_stream, parquet_stream
from audit.web.manners import attachment


class TableResponse(StreamingResponse):
    """The rows of a table as CSV or Parquet.

    Who asks may go away in the middle, or before the first byte: `held` is closed all the same.
    """

    def __init__(self, table: Table, form: str, file_name: str, held: ExitStack) -> None:
        """`file_name`: of harmless characters."""
        self._pieces = csv_stream(table) if form == CSV else parquet_stream(table)
        self._held = held
        self._making = Lock()
        super().__init__(
            self._made(),
            media_type=MEDIA_TYPES[form],
            headers={"content-disposition": attachment(file_name)},
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            # Whoever goes away is waited for until his piece is made; the end of the server does
            # not wait, and a thread may still be at it.
            with self._making, self._held:
                self._pieces.close()

    def _made(self) -> Iterator[bytes]:
        while True:
            with self._making:
                piece = next(self._pieces, None)
            if piece is None:
                return
            yield piece
