"""Features as a recorded definition made them: values by name, and where each comes from."""

import json
from collections.abc import Mapping
from typing import Any

from audit.event.valuejson import from_json, to_json
from audit.lineage.content.forms import Served
from audit.lineage.content.served import describe, rebuild
from audit.lineage.recorded.records import Named


class MadeFeatures(dict[str, Any]):
    """Features by name, as their definition returned them, with their origin.

    Use it like the dictionary it is. A logged function that is given it records the origin, so that
    the features can be made again from the ledger. Values may be added: what the definition made is
    known by name.
    """

    def __init__(
        self,
        features: Mapping[str, Any],
        definition: Named,
        request: str,
        reads: list[dict[str, Any]],
    ) -> None:
        """`request`: see `request_text`. `reads`: a DataRef for each dataset that was read."""
        super().__init__(features)
        self.definition = definition
        self._origin = {
            "name": definition.name,
            "version": definition.version,
            "digest": definition.digest,
            "request": request,
            "names": list(features),
            "reads": reads,
        }

    def origin(self) -> dict[str, Any]:
        """A FeatureSet as prediction.v2 has it: definition, request, and the data that was read."""
        return dict(self._origin)


def request_text(request: object) -> str:
    """The argument of a definition as JSON: its plain value, and the form that makes it again.

    Raises InvalidInput on what cannot be kept exactly.
    """
    value, form = describe(request)
    document = {"value": to_json(value), "form": form}
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def request_of(document: object) -> Served:
    """What `request_text` described, from its JSON. Raises InvalidInput, FormatError."""
    from audit.errors import FormatError

    if not isinstance(document, dict) or not isinstance(document.get("form"), (dict, type(None))):
        raise FormatError("the recorded request of a feature definition is not as it must be")
    served = Served(from_json(document.get("value")), document.get("form"))
    rebuild(*served)
    return served
