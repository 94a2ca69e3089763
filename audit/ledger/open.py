"""Where a ledger and its policy are: opening a store or a bundle by its URL."""

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from audit.errors import NotFound

if TYPE_CHECKING:
    from audit.store.contract import Reader
    from audit.verify.policy import Policy

STORE_VARIABLE = "AUDIT_STORE"
POLICY_VARIABLE = "AUDIT_POLICY"
DEFAULT_URL = "sqlite:///audit.db"
DEFAULT_POLICY = "audit.policy"
BUNDLE_SCHEME = "bundle:///"


def open_any_reader(url: str, sound: bool = True) -> "Reader":
    """A reader of a store or a bundle. Raises StoreMissing, Unavailable, InvalidInput.

    With `sound`, also StoreCorrupt for a store that is not built as a ledger is.
    """
    if url.startswith(BUNDLE_SCHEME):
        from audit.verify.bundle import open_bundle

        return open_bundle(bundle_path(url))
    from audit.store import open_reader

    return open_reader(url, sound)


def bundle_path(url: str) -> Path:
    """The file of a bundle URL."""
    return Path(url.removeprefix(BUNDLE_SCHEME))


def store_file(url: str) -> Path | None:
    """The file of a store; None when it is on a database server. Raises InvalidInput."""
    from audit.store import is_served, sqlite_path

    return None if is_served(url) else sqlite_path(url)


def policy_path(url: str) -> Path:
    """Where the policy of a ledger is: AUDIT_POLICY, else audit.policy beside store or bundle.

    Beside a store on a database server is the current folder.
    """
    named = os.environ.get(POLICY_VARIABLE)
    if named:
        return Path(named)
    if url.startswith(BUNDLE_SCHEME):
        return bundle_path(url).parent / DEFAULT_POLICY
    from audit.store import store_folder

    return store_folder(url) / DEFAULT_POLICY


def policy_for(url: str) -> "Policy | None":
    """The policy at `policy_path`; None when there is no such file. Raises FormatError."""
    from audit.verify.policy import Policy

    with suppress(NotFound):
        return Policy.from_file(policy_path(url), beside_store=True)
    return None
