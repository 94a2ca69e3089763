"""One suite, every backend."""
