"""Commands that record and read data."""
