"""From the spool to a ledger or a topic: files, queues, threads, and the keys that sign."""
