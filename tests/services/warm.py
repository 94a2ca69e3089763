"""`python -m tests.services.warm`: bring everything the services need, before any test waits."""

import sys
import time

from tests.services import kafka, postgres, registry
from tests.services.process import Unobtainable


def main() -> int:
    """Start and end each service once; say what came of it. 1 when one cannot be had."""
    missing = 0
    for module in (kafka, postgres, registry):
        began = time.monotonic()
        try:
            server = module.obtain()
        except Unobtainable as error:
            print(f"missing: {error}", file=sys.stderr)
            missing = 1
            continue
        server.close()
        print(f"ready after {time.monotonic() - began:.1f} s: {server.description}")
    return missing


if __name__ == "__main__":
    sys.exit(main())
