"""Capture of what Debezium says: change events from Kafka topics become events of the ledger."""
