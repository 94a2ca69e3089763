"""Drawings as SVG, from numbers and escaped texts; colours come from the style sheet."""
