"""Benchmarks: whole-process figures and ratios against a bare loop in the same run."""
