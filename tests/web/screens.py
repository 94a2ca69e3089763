"""The address of a page of each screen, of the demo's ledger."""

from tests.web.conftest import Web


def addresses(web: Web) -> dict[str, str]:
    """The name of a screen -> an address of it; pages of errors, too."""
    prediction = web.json("/predictions")["predictions"][0]["prediction"]
    model = web.json("/models")["models"][0]["ref"]
    run = web.json("/runs")["runs"][0]["run"]
    name = model.removeprefix("model/").rpartition("@")[0]
    return {
        "overview": "/",
        "events": "/events?q=entity:inquiry",
        "event": "/event?at=0/28",
        "datasets": "/datasets",
        "dataset": "/dataset?name=inquiry",
        "past": "/entity?ref=inquiry/1003&as_of=0/14",
        "entity": "/entity?ref=inquiry/1003",
        "diff": "/diff?what=inquiry&a=0/14",
        "predictions": "/predictions",
        "prediction": f"/prediction?ref=prediction/{prediction}",
        "trace": f"/trace?ref=prediction/{prediction}",
        "models": "/models",
        "model": f"/model?ref={model}",
        "drift": f"/drift?what={name}",
        "runs": "/runs",
        "run": f"/run?ref=run/{run}",
        "review": "/review",
        "verify": "/verify",
        "keys": "/keys",
        "quarantine": "/quarantine",
    }


ERRORS = {"400": "/events?q=nonsense:1", "404": "/nowhere"}
"""Pages that say what is wrong."""
