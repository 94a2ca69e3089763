"""Bundles: write one, read it like a ledger, verify it offline."""

from audit.verify.bundle_check import verify_bundle
from audit.verify.bundle_read import BundleReader, open_bundle
from audit.verify.bundle_write import Selection, Written, write_bundle

__all__ = [
    "BundleReader",
    "Selection",
    "Written",
    "open_bundle",
    "verify_bundle",
    "write_bundle",
]
