"""The lineage graph: what a thing was made from, and what was made from it."""
