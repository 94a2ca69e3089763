"""Read-only SQL over a ledger: DuckDB over views that are made of its entries."""
