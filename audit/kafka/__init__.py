"""The library's only broker code: topics, addresses, and the clients that move bytes."""
