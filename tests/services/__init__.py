"""Real brokers, databases and registries that tests run against."""
