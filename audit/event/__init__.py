"""What producers say: events, their payloads and schemas, and producers' signatures."""
