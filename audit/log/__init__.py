"""What the log says, pure: entries, the one append step, what may enter, receipts."""
