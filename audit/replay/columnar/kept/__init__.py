"""The pieces of the read model: built, kept as files, checked, found again."""
