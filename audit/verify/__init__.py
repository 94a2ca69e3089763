"""Believing nothing: policies, verification in numbered steps, bundles, and what they report."""
