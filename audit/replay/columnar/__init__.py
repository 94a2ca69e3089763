"""The read model: datasets as columns, built from the log, disposable, and never evidence."""
