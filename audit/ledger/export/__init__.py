"""The ledger as tables: its events and the changes of its datasets in Arrow, and as Parquet."""
