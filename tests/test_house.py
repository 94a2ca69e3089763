"""The house rules that a machine can hold: floors, sizes, public names, what lies in the tree."""

import ast
import re
import subprocess
import sys
import tomllib
import types
from graphlib import TopologicalSorter
from importlib import import_module
from pathlib import Path

import grimp
import pytest
from importlinter.cli import lint_imports

import audit
import audit.errors

MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 70
MAX_FILE_BYTES = 1_000_000

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = [name for name in ("audit", "consumers") if (ROOT / name / "__init__.py").exists()]
MODULES = sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

HEAVY = {
    *("click", "cryptography", "fastavro", "joblib", "numpy", "pandas", "pyarrow", "pydantic"),
    *("pydantic_settings", "rich", "scipy", "sklearn", "sqlalchemy", "sqlite3"),
}
FRAMES = {"joblib", "mlflow", "numpy", "pandas", "pyarrow", "scipy", "sklearn"}

IMPORT_NAME_OF = {
    "confluent-kafka": {"confluent_kafka"},
    "fastapi": {"fastapi", "starlette", "anyio"},
    "jinja2": {"jinja2", "markupsafe"},
    "kafka-python": {"kafka"},
    "prometheus-client": {"prometheus_client"},
    "pydantic-settings": {"pydantic", "pydantic_settings"},
    "mlflow-skinny": {"mlflow"},
    "pandas": {"pandas", "numpy"},
    "scikit-learn": {"sklearn", "joblib"},
}
"""Where it is not the distribution's name. numpy comes with pandas, as others with theirs."""

MACHINE_PATH = re.compile(r"(?<![\w./~$}-])/(?:home|Users|root|work|workspace)/\w")
"""Where people keep their homes and checkouts."""


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tracked_files() -> list[Path]:
    """What git tracks or would; without git (an unpacked sdist) everything that is not hidden."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others"]
    try:
        done = subprocess.run([*command, "--exclude-standard"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        everything = [path for path in ROOT.rglob("*") if "__pycache__" not in path.parts]
        inside = [path for path in everything if path.relative_to(ROOT).parts[0][0] != "."]
        return sorted(path for path in inside if path.is_file())
    names = done.stdout.decode().split("\0")
    return sorted(path for name in names if name and (path := ROOT / name).is_file())


def text_of(path: Path) -> str | None:
    data = path.read_bytes()
    try:
        return None if b"\0" in data else data.decode()
    except UnicodeDecodeError:
        return None


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse(path.read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [node for node in ast.walk(tree) if isinstance(node, kinds)]


def modules_with_exports() -> list[str]:
    """Names of the modules that say `__all__`; the others may be scripts, and are not imported."""
    paths = [path for path in MODULES if re.search(r"^__all__\b", path.read_text(), re.MULTILINE)]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]
    return [name.removesuffix(".__init__") for name in names]


def modules_loaded_by(statement: str) -> set[str]:
    """Top-level packages that a fresh interpreter holds after the statement."""
    program = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return {name.partition(".")[0] for name in done.stdout.split()}


# Sizes


def test_a_module_has_at_most_400_lines() -> None:
    lines = {relative(path): len(path.read_text().split("\n")) - 1 for path in MODULES}
    assert {path: n for path, n in lines.items() if n > MAX_MODULE_LINES} == {}


def test_a_function_has_at_most_70_lines() -> None:
    long = {
        f"{relative(path)}:{node.lineno} {node.name}": length
        for path in MODULES
        for node in functions(path)
        if (length := (node.end_lineno or 0) - node.lineno + 1) > MAX_FUNCTION_LINES
    }
    assert long == {}


def test_a_module_says_its_job_in_one_line() -> None:
    def first_line(path: Path) -> str:
        return (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n")[0].strip()

    assert [relative(path) for path in MODULES if not first_line(path)] == []


# Floors


def test_imports_hold_the_contracts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", list(sys.path))
    code = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True)
    assert code == 0, capsys.readouterr().out


def test_no_module_imports_itself_in_a_circle() -> None:
    # A name imported for type checkers alone closes no circle: it is never executed.
    graph = grimp.build_graph(*PACKAGES, exclude_type_checking_imports=True, cache_dir=None)
    # The package's own lazy names point down at everything; nothing may point back up at them.
    imports = {
        name: graph.find_modules_directly_imported_by(name)
        for name in graph.modules
        if name not in PACKAGES
    }
    assert imports
    TopologicalSorter(imports).prepare()  # CycleError names the circle


def test_only_declared_dependencies_are_imported() -> None:
    project = PROJECT["project"]
    extras = project["optional-dependencies"]
    optional = [line for name in extras.keys() - {"test", "dev"} for line in extras[name]]
    declared = [*project["dependencies"], *optional]
    names = [re.split(r"[\[<>=~! ]", line, maxsplit=1)[0] for line in declared]
    allowed = {name for dist in names for name in IMPORT_NAME_OF.get(dist, {dist})}
    graph = grimp.build_graph(*PACKAGES, include_external_packages=True, cache_dir=None)
    external = {name for name in graph.modules if graph.is_module_squashed(name)}
    top_level = {name.partition(".")[0] for name in external} - sys.stdlib_module_names
    assert "cryptography" in top_level
    assert top_level - allowed == set()


# Public names


def test_what_the_package_exports() -> None:
    errors = {
        name
        for name, value in vars(audit.errors).items()
        if isinstance(value, type) and issubclass(value, audit.AuditError)
    }
    rest = {"Emitter", "Ledger", "Policy", "__version__", "context", "model_run", "predictor"}
    rest |= {"component", "current_run", "dataset_version", "features", "ground_truth"}
    rest |= {"AsgiMiddleware", "WsgiMiddleware", "audited", "identify"}
    rest |= {"mlflow_run", "quality", "review", "statuses", "transition", "verify_bundle"}
    assert set(audit.__all__) == errors | rest
    assert audit.__all__ == sorted(audit.__all__)
    assert set(audit.__all__) <= set(dir(audit))


@pytest.mark.parametrize("name", audit.__all__)
def test_an_exported_name_loads_and_says_what_it_is(name: str) -> None:
    value = getattr(audit, name)
    is_module = isinstance(value, types.ModuleType)
    assert isinstance(value, str) or ((callable(value) or is_module) and value.__doc__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Emiter'"):
        _ = audit.Emiter


@pytest.mark.parametrize("module", modules_with_exports())
def test_what_a_module_exports_is_there_and_sorted(module: str) -> None:
    loaded = import_module(module)
    exported = list(loaded.__all__)

    def rank(name: str) -> tuple[int, str]:
        return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)

    assert exported == sorted(set(exported), key=rank)
    assert [name for name in exported if not hasattr(loaded, name)] == []


@pytest.mark.parametrize(
    ("statement", "unwanted"),
    [
        ("import audit", HEAVY),
        ("from audit import Emitter, Ledger, Policy, context, model_run, predictor", FRAMES),
        ("import audit.cli.main", FRAMES),
    ],
)
def test_importing_stays_light(statement: str, unwanted: set[str]) -> None:
    loaded = modules_loaded_by(statement)
    assert "audit" in loaded
    assert loaded & unwanted == set()


def test_python_m_audit_is_the_command_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "audit", "--help"], capture_output=True, text=True, cwd=ROOT
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "replay" in done.stdout


# What lies in the tree


def test_nothing_names_a_folder_of_this_machine() -> None:
    own = [str(path) for path in (ROOT, Path.home()) if len(path.parts) > 2]
    found = {
        f"{relative(path)}:{number}": line.strip()
        for path in tracked_files()
        if path.suffix != ".svg" and (text := text_of(path)) is not None
        for number, line in enumerate(text.split("\n"), 1)
        if MACHINE_PATH.search(line) or any(folder in line for folder in own)
    }
    assert found == {}


def test_the_machine_path_pattern_finds_what_it_should() -> None:
    home, checkout = "/ho" + "me/alice/x", "see /wor" + "k/main/audit"
    assert MACHINE_PATH.search(home) and MACHINE_PATH.search(checkout)
    assert not MACHINE_PATH.search("https://example.com/home/page and tests/work/x")


def test_no_file_is_larger_than_a_megabyte() -> None:
    sizes = {relative(path): path.stat().st_size for path in tracked_files()}
    assert "pyproject.toml" in sizes
    assert {name: size for name, size in sizes.items() if size > MAX_FILE_BYTES} == {}


def test_the_changelog_begins_with_this_version() -> None:
    headings = re.findall(r"^## \[?([^\]\s]+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == audit.__version__


def test_architecture_draws_the_floors_of_the_contract() -> None:
    layers = PROJECT["tool"]["importlinter"]["contracts"][0]["layers"]
    names = [re.findall(r"\w+", layer) for layer in reversed(layers)]
    drawn = re.search(r"^errors <- .*$", (ROOT / "ARCHITECTURE.md").read_text(), re.MULTILINE)
    assert drawn is not None
    assert [re.findall(r"\w+", floor) for floor in drawn[0].split("<-")] == names


def test_architecture_maps_every_folder() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    mapped = set(re.findall(r"^(audit/[a-z_]*/?|[a-z]+/)  ", text, re.MULTILINE))
    subpackages = {f"audit/{path.parent.name}/" for path in (ROOT / "audit").glob("*/__init__.py")}
    assert subpackages <= mapped
    assert [name for name in mapped if not (ROOT / name).is_dir()] == []


@pytest.mark.parametrize("document", ["ARCHITECTURE.md", "CONTRIBUTING.md", "tests/README.md"])
def test_every_path_that_a_document_names_exists(document: str) -> None:
    named = re.findall(r"`((?:audit|schemas|tests|\.ci)/[\w./-]*)`", (ROOT / document).read_text())
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_make_target_that_the_documents_name_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    documents = [*sorted(ROOT.glob("*.md")), ROOT / "tests/README.md"]
    named = {
        target
        for path in documents
        for target in re.findall(r"(?:^|`)make ([a-z]+)", path.read_text(), re.MULTILINE)
    }
    assert {"demo", "test", "check", "bench"} <= targets
    assert named <= targets
