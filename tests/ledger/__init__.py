"""Tests of the facade's floor: exports and SQL."""
