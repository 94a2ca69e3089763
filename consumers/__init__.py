"""The services of a ledger beyond one machine: from a Kafka topic into the store."""
