"""Where things are shown: the address of the screen of a reference, an entry, a dataset."""

from audit.replay.refs import RECORD_WORDS
from audit.web.answer import Asked

_SCREENS = {"prediction": "/prediction", "model": "/model", "run": "/run"}


def of_ref(asked: Asked, ref: str) -> str:
    """The screen of a thing such as user/5, prediction/ID, model/NAME@V, at the same point."""
    word = ref.partition("/")[0]
    if word in _SCREENS:
        return asked.link(_SCREENS[word], ref=ref)
    return asked.link("/trace" if word in RECORD_WORDS else "/entity", ref=ref)


def of_entry(log: int, index: int) -> str:
    """The screen of an entry, which is the same at every point."""
    return f"/event?at={log}%2F{index}"
