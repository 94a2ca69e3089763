"""Running recorded things again, in processes of their own, and judging what comes out."""
