"""Bundles: write one, read it like a ledger, verify it offline."""

from audit.verify.bundle.check import verify_bundle
from audit.verify.bundle.read import BundleReader, open_bundle
from audit.verify.bundle.write import Selection, Written, write_bundle

__all__ = [
    "BundleReader",
    "Selection",
    "Written",
    "open_bundle",
    "verify_bundle",
    "write_bundle",
]
