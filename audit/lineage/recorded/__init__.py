"""What the ledger has on record: runs, models, datasets, predictions, reviews; found and shown."""
