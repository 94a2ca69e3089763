"""Code and what it ran on: texts, functions with all that they refer to, packages."""
