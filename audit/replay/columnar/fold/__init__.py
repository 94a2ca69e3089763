"""From events in columns to rows at a cut: snapshots, states, differences, blame."""
