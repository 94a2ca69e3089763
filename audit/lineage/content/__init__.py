"""What things are by their content: digests, profiles, and values in the form they were served."""
