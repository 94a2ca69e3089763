"""Log to both: a training run in the ledger, and the same run in MLflow.

MLflow's run is the active one inside the block, so `mlflow.sklearn.log_model` and the like go into
it. Each names the other: MLflow's run has the tags attestory.run, attestory.model and
attestory.model_digest, the ledger's run the tag mlflow:RUN_ID. The ledger is the record: when
MLflow cannot be written to, that is a warning in the log, and the run goes on.
"""

import json
import logging
import sys
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self, Unpack

from audit.capture.emitter import Emitter
from audit.capture.pipeline.component import Place, Settings, checked_params, checked_tags
from audit.capture.pipeline.registering import ModelOptions
from audit.capture.pipeline.run_record import About, status_of
from audit.capture.pipeline.runs import ModelRun, script_of
from audit.errors import Unavailable
from audit.event.types import MODEL_RUN
from audit.event.valuejson import to_json
from audit.lineage.recorded.models import ModelVersion, model_key
from audit.lineage.recorded.runs import COMPLETE, FAIL
from audit.store.blobs import BlobStore

MAX_VALUE_CHARS = 6_000
"""MLflow's limit of a parameter's value."""
DIGEST_CHARS = 36
"""MLflow's limit of a dataset's digest; the source of the dataset has the whole of it."""

_STATUS = {COMPLETE: "FINISHED", FAIL: "FAILED"}
_log = logging.getLogger(__name__)


def mlflow_run(
    name: str,
    params: Mapping[str, Any] | None = None,
    seed: int | None = None,
    *,
    experiment: str | None = None,
    owner: str | None = None,
    tags: tuple[str, ...] | list[str] = (),
    description: str | None = None,
    keep: bool = False,
    emitter: Emitter | None = None,
    bus: str | None = None,
    blobs: BlobStore | str | None = None,
    source: str | None = None,
) -> "MlflowRun":
    """Record a training run here and in MLflow: ``with audit.mlflow_run("credit-risk") as run:``.

    As `audit.model_run`; parameters, metrics, inputs and models go to both. `experiment`: MLflow's,
    default the active one. Where MLflow logs to is said to MLflow (MLFLOW_TRACKING_URI). Raises
    Unavailable when MLflow is not installed, and as `model_run`.
    """
    model_key(name, "0")
    try:
        import mlflow
    except ImportError:
        raise Unavailable(
            "MLflow is not installed; install it: pip install 'attestory[mlflow]'"
        ) from None
    about = About(MODEL_RUN, name, description, owner, checked_tags(tags), seed, keep)
    frame = sys._getframe(1)
    run = MlflowRun(
        about,
        Settings(params=checked_params(params or {})),
        Place(emitter, bus, blobs, source),
        frame.f_code,
        script_of(frame.f_globals, frame.f_code),
    )
    run.mlflow, run.experiment = mlflow, experiment
    return run


class MlflowRun(ModelRun):
    """A run that goes to the ledger and to MLflow. Use `mlflow_run`, in a `with` block."""

    mlflow: Any = None
    experiment: str | None = None
    mlflow_run_id: str | None = None
    """Id of MLflow's run; None where MLflow could not begin one."""

    def __enter__(self) -> Self:
        """MLflow's run begins, then the ledger's, which names it."""
        self._try(self._begin_theirs)
        if self.mlflow_run_id is not None:
            tags = (*self.about.tags, f"mlflow:{self.mlflow_run_id}")
            self.about = self.about._replace(tags=tags)
        try:
            return super().__enter__()
        except BaseException:
            self._try(lambda: self.mlflow.end_run(_STATUS[FAIL]))
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Both end; the ledger's first."""
        try:
            super().__exit__(kind, error, tb)
        finally:
            status = _STATUS.get(status_of(error), "KILLED")
            self._try(lambda: self.mlflow.end_run(status))

    def param(self, name: str, value: Any) -> None:
        """As `ModelRun.param`."""
        super().param(name, value)
        self._try(lambda: self.mlflow.log_param(name, _text(self.params[name])))

    def metric(self, name: str, value: float) -> None:
        """As `ModelRun.metric`."""
        super().metric(name, value)
        self._try(lambda: self.mlflow.log_metric(name, self.metrics[name]))

    def input(self, data: Any, name: str | None = None, *, keep: bool | None = None) -> str:
        """As `ModelRun.input`; MLflow hears of the dataset's name and digest."""
        digest = super().input(data, name, keep=keep)
        described = self.inputs[-1]
        self._try(lambda: self._log_input(described))
        return digest

    def model(
        self,
        model: Any,
        version: str | None = None,
        name: str | None = None,
        **options: Unpack[ModelOptions],
    ) -> ModelVersion:
        """As `ModelRun.model`; MLflow hears of name, version and digest."""
        made = super().model(model, version, name, **options)
        tags = {"attestory.model": str(made), "attestory.model_digest": made.digest}
        self._try(lambda: self.mlflow.set_tags(tags))
        return made

    def _begin_theirs(self) -> None:
        mlflow = self.mlflow
        experiment_id = None
        if self.experiment is not None:
            found = mlflow.get_experiment_by_name(self.experiment)
            experiment_id = (
                mlflow.create_experiment(self.experiment) if found is None else found.experiment_id
            )
        theirs = mlflow.start_run(
            run_name=self.name, experiment_id=experiment_id, description=self.about.description
        )
        self.mlflow_run_id = theirs.info.run_id
        mlflow.set_tags({"attestory.run": self.run_id})
        given = {name: _text(value) for name, value in self.params.items()}
        if self.seed is not None:
            given.setdefault("seed", str(self.seed))
        if given:
            mlflow.log_params(given)

    def _log_input(self, described: Mapping[str, Any]) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        digest = str(described["digest"])
        dataset = Dataset(
            name=str(described.get("name") or "input"),
            digest=digest.rpartition(":")[2][:DIGEST_CHARS],
            source_type="attestory",
            source=json.dumps({"digest": digest, "run": self.run_id}),
        )
        tags = [InputTag(key="mlflow.data.context", value="training")]
        client = self.mlflow.MlflowClient()
        client.log_inputs(self.mlflow_run_id, [DatasetInput(dataset=dataset, tags=tags)])

    def _try(self, action: Callable[[], object]) -> None:
        """Tell MLflow. Its errors are of many kinds; none of them may cost the training."""
        try:
            action()
        except Exception as error:
            words = str(error).splitlines()[0] if str(error) else ""
            _log.warning("MLflow did not take it: %s: %.300s", type(error).__name__, words)


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(to_json(value), ensure_ascii=False)
    return text[:MAX_VALUE_CHARS]
