"""The demo: the whole story on real data, told by the commands that a user would type."""
