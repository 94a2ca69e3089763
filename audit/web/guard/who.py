"""Who asks: a token's name, what a trusted proxy says, or, on this machine alone, nobody.

The file of tokens has a line for each: a name, and the SHA-256 of the token, which itself is kept
nowhere. Lines that begin with # are remarks.

    alice sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
"""

import hmac
import re
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from audit.errors import FormatError, LimitExceeded, Unavailable

MAX_TOKEN_FILE_BYTES = 1_000_000
MAX_TOKEN_CHARS = 256
MAX_NAME_CHARS = 128
TOKEN_BYTES = 32
SESSION_SECONDS = 12 * 3600
"""After so long a browser has to show the token again."""
MAX_SESSIONS = 10_000
MAX_SESSIONS_OF_ONE = 50
"""Of one name; who begins more ends his own oldest one, and not those of others."""
COOKIE = "attestory_session"

LOCAL = "local"
"""Who asks where nobody has to say who he is: whoever can reach this machine's loopback."""

_LINE = re.compile(rf"(\S{{1,{MAX_NAME_CHARS}}})[ \t]+sha256:([0-9a-f]{{64}})")
_NAME = re.compile(rf"[\x20-\x7e]{{1,{MAX_NAME_CHARS}}}")


class Visitor(NamedTuple):
    """Who asks, and the key that his requests are counted under."""

    name: str
    counted_as: str


def new_token(name: str) -> tuple[str, str]:
    """A new token, and the line for the file. Raises FormatError for a name that cannot be one."""
    token = secrets.token_urlsafe(TOKEN_BYTES)
    line = f"{name} sha256:{sha256(token.encode()).hexdigest()}"
    if _LINE.fullmatch(line) is None or name.startswith("#"):
        raise FormatError(f"a name has 1 to {MAX_NAME_CHARS} characters, no space, no # in front")
    return token, line


def read_tokens(path: Path) -> dict[bytes, str]:
    """SHA-256 of each token -> name. Raises FormatError, LimitExceeded, Unavailable."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_TOKEN_FILE_BYTES + 1)
    except OSError as error:
        raise Unavailable(f"cannot read the tokens in {path}: {error.strerror}") from None
    if len(data) > MAX_TOKEN_FILE_BYTES:
        raise LimitExceeded(f"{path} is over {MAX_TOKEN_FILE_BYTES} bytes")
    found: dict[bytes, str] = {}
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None or not match[1].isprintable():
            raise FormatError(f"line {number} of {path} is not: NAME sha256:HEX")
        found[bytes.fromhex(match[2])] = match[1]
    if not found:
        raise FormatError(f"{path} has no token; make one with `audit serve --new-token NAME`")
    return found


class Sessions:
    """Browsers that have shown a token: a random cookie for each, in memory only."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock`: seconds, never going back."""
        self._clock = clock
        self._open: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._lock = Lock()

    def begin(self, name: str) -> str:
        """The cookie of a new session."""
        cookie = secrets.token_urlsafe(TOKEN_BYTES)
        with self._lock:
            own = [held for held, (whose, _) in self._open.items() if whose == name]
            for oldest in own[: max(0, len(own) - MAX_SESSIONS_OF_ONE + 1)]:
                del self._open[oldest]
            self._open[cookie] = (name, self._clock() + SESSION_SECONDS)
            while len(self._open) > MAX_SESSIONS:
                self._open.popitem(last=False)
        return cookie

    def name(self, cookie: str) -> str | None:
        """Whose session it is; None for one that is over or never was."""
        with self._lock:
            found = self._open.get(cookie)
            if found is None or found[1] < self._clock():
                self._open.pop(cookie, None)
                return None
            return found[0]

    def end(self, cookie: str) -> None:
        """Forget a session."""
        with self._lock:
            self._open.pop(cookie, None)


class Doorkeeper:
    """Tells who asks."""

    def __init__(
        self,
        tokens: Mapping[bytes, str] | None,
        proxy: str | None,
        proxy_header: str,
        sessions: Sessions,
    ) -> None:
        """`tokens` None and `proxy` None: everybody is LOCAL."""
        self._tokens = tokens
        self._proxy = proxy
        self._header = proxy_header.lower()
        self.sessions = sessions

    @property
    def takes_tokens(self) -> bool:
        """Whether a token opens the view."""
        return self._tokens is not None

    def is_proxy(self, address: str) -> bool:
        """Whether an address, in its one spelling, is the one that is believed who asks."""
        return self._proxy is not None and address == self._proxy

    def token_name(self, token: str) -> str | None:
        """Whose token it is; None for none."""
        if self._tokens is None or not 0 < len(token) <= MAX_TOKEN_CHARS:
            return None
        shown = sha256(token.encode("utf-8", "replace")).digest()
        # Every line is compared, each in constant time: how long it takes tells nothing.
        names = [name for held, name in self._tokens.items() if hmac.compare_digest(held, shown)]
        return names[0] if names else None

    def visitor(
        self, address: str, headers: Mapping[str, str], cookie: str | None
    ) -> Visitor | None:
        """Who asks, from an address, with these headers (names in lower case); None: a stranger."""
        if self.is_proxy(address):
            said = headers.get(self._header, "")
            if _NAME.fullmatch(said):
                return Visitor(said, f"proxy:{said}")
        if self._tokens is None and self._proxy is None:
            return Visitor(LOCAL, address)
        scheme, _, token = headers.get("authorization", "").partition(" ")
        name = self.token_name(token.strip()) if scheme.lower() == "bearer" else None
        if name is None and cookie is not None:
            name = self.sessions.name(cookie)
        return None if name is None else Visitor(name, f"token:{name}")
