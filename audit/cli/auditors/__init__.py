"""Commands that check and prove."""
