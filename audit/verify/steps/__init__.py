"""The steps of verifying a ledger, one a file, numbered in what they report."""
