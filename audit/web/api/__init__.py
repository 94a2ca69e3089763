"""The HTTP API as it describes itself: the shape of every answer, parameter and error."""
