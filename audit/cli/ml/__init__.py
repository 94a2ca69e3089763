"""Commands for runs, models and predictions."""
