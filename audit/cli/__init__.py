"""The command line: thin skin over the library. A command parses, calls one function, shows."""
