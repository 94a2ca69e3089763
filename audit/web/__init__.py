"""The read-only web view: pages that work without JavaScript, each with a `.json` twin.

`application` makes the ASGI application for one ledger; `audit serve` runs it. It opens the store
for reading only, so that nothing here can write to it, whatever a request says.
"""

from audit.web.app import application
from audit.web.options import WebOptions

__all__ = ["WebOptions", "application"]
