"""Which logged function is running here: predictions made inside it are what its own is made from.

It lives in a context variable: an asyncio task inherits it, a new thread does not (hand it on with
`contextvars.copy_context().run`).
"""

from contextvars import ContextVar
from typing import Any

from audit.lineage.recorded.models import ModelVersion
from audit.lineage.recorded.predictions import MEMBER, PRIMARY, SHADOW


class Running:
    """A call of a logged function, while it runs.

    `parents`, `members`: ids of the predictions made inside it so far.
    """

    __slots__ = ("_members", "members", "parents", "role")

    def __init__(self, role: str, members: frozenset[tuple[str, str]]) -> None:
        """`members`: (name, version) of the models that the model combines."""
        self.role = role
        self._members = members
        self.parents: list[str] = []
        self.members: list[str] = []

    def has_member(self, model: ModelVersion) -> bool:
        """Whether a model is one of those that the running model combines."""
        return (model.name, model.version) in self._members

    def add(self, prediction_id: str, model: ModelVersion) -> None:
        """Take in a prediction that was made inside."""
        (self.members if self.has_member(model) else self.parents).append(prediction_id)


running: ContextVar[Running | None] = ContextVar("running_prediction", default=None)


def member_names(members: Any) -> frozenset[tuple[str, str]]:
    """(name, version) of what a model version lists as its members."""
    return frozenset((member.name, member.version) for member in members or ())


def role_inside(role: str, model: ModelVersion, outer: Running | None) -> str:
    """The role of a prediction: one made for a shadow is not served, and members are members."""
    if outer is None or role != PRIMARY:
        return role
    if outer.role == SHADOW:
        return SHADOW
    return MEMBER if outer.has_member(model) else role
