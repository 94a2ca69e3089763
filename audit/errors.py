"""The error tree: every error that may leave a public function, by what the caller should do.

::

    AuditError
    ├── InvalidInput            exit 2   what was given is wrong: mend the call
    │   ├── FormatError                  bytes that are not what they claim to be
    │   │   └── UnknownSchema            a payload whose schema is not (yet) in the log
    │   ├── RejectedInput                a model's input is not as the model expects it
    │   ├── UnseenWrite                  a write that capture could not follow: it was not run
    │   ├── LimitExceeded                larger, longer or deeper than a named limit allows
    │   ├── NotFound                     no such entry, entity, reference or log
    │   └── Ambiguous                    fits several things; the message lists them
    ├── FailedTest              exit 1   data or a model that a test of a component refuses
    ├── Unproven                exit 1   evidence that does not hold
    │   ├── InvalidSignature             a known key's signature is wrong
    │   ├── UnknownKey                   signed, but by no key that the caller trusts
    │   ├── InvalidProof                 a Merkle proof that does not lead to the root
    │   └── StoreCorrupt                 the store contradicts itself: refused, not mended
    └── Unavailable             exit 3   something needed is not reachable: try again or mend it
        ├── StoreMissing                 there is no ledger there
        ├── StoreBusy                    another writer holds the lock for too long
        └── Fenced                       this writer lost its right to append

`exit_code` is what the command line returns for it.
"""

from collections.abc import Mapping


class AuditError(Exception):
    """Base of everything this library raises on purpose."""

    exit_code = 2


class InvalidInput(AuditError, ValueError):
    """What the caller gave is wrong."""


class FormatError(InvalidInput):
    """Bytes or text that are not in the format they claim to be in."""


class UnknownSchema(FormatError):
    """A payload names a schema that is not in the log at this point."""


class RejectedInput(InvalidInput):
    """A model's input is not as the model expects it; the model was not run."""


class UnseenWrite(InvalidInput):
    """A write on a captured table that capture could not follow; it was not run."""


class LimitExceeded(InvalidInput):
    """Something from outside is larger than its named limit."""


class NotFound(InvalidInput):
    """No such entry, entity, reference or log."""


class Ambiguous(InvalidInput):
    """What was asked for fits several things."""


class FailedTest(AuditError):
    """A test of what goes into a component, or comes out of it, failed. `measured`: by name."""

    exit_code = 1

    def __init__(self, message: str, measured: Mapping[str, object] | None = None) -> None:
        """The message says what is wrong with the data."""
        super().__init__(message)
        self.measured = dict(measured or {})


class Unproven(AuditError):
    """Evidence was checked and does not hold."""

    exit_code = 1


class InvalidSignature(Unproven):
    """A signature that claims a known key does not verify."""


class UnknownKey(Unproven):
    """No signature is by a key that the caller trusts."""


class InvalidProof(Unproven):
    """A Merkle proof does not lead from the leaf to the root."""


class StoreCorrupt(Unproven):
    """The store contradicts itself; nothing is appended to it."""


class Unavailable(AuditError):
    """Something needed is not reachable now."""

    exit_code = 3


class StoreMissing(Unavailable):
    """There is no ledger at the given address."""


class StoreBusy(Unavailable):
    """Another writer holds the lock for longer than this one waits."""


class Fenced(Unavailable):
    """This writer lost its right to append to the log."""
