"""`python -m audit`: the command line, where the `audit` script is not on the path."""

import sys

from audit.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
