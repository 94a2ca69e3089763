"""Reading the past: rows at a cut on either time axis, history, blame, differences, queries."""
