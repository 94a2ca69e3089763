"""Tests of audit/capture."""
