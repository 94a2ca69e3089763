"""Runs of components and trainings, and what they declare of data, features and models."""
