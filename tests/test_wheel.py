"""The wheel, built from the sdist and installed into a fresh environment, runs the whole demo."""

import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest

import audit

ROOT = Path(__file__).resolve().parent.parent
SCHEMAS = sorted(path.name for path in (ROOT / "schemas").glob("*.avsc"))
SCHEMA_FOLDER = {
    path.relative_to(ROOT / "schemas").as_posix(): path
    for path in (ROOT / "schemas").rglob("*")
    if path.is_file()
}

pytestmark = pytest.mark.slow


class Built(NamedTuple):
    sdist: Path
    wheel: Path


def run(command: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run without anything that would lead Python back to this tree."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    env["PYTHONNOUSERSITE"] = "1"
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, f"{command} exits {done.returncode}:\n{done.stdout}{done.stderr}"
    return done


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The sdist of this tree, and the wheel made from nothing but that sdist."""
    out = tmp_path_factory.mktemp("dist")
    # With the build backend at hand no network is needed.
    isolation = ["--no-isolation"] if find_spec("hatchling") else []
    run([sys.executable, "-m", "build", *isolation, "--outdir", str(out), str(ROOT)], cwd=out)
    (sdist,) = out.glob("*.tar.gz")
    (wheel,) = out.glob("*.whl")
    return Built(sdist, wheel)


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment that has the wheel, and borrows only its dependencies."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    # Most of the modules would be compiled and never imported.
    run([*pip, "--no-compile", "--no-deps", "--no-index", str(built.wheel)], cwd=home)
    # A .pth file only adds folders: .pth files in those folders (editable installs) are not read.
    (site,) = home.glob("lib/python*/site-packages")
    borrowed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "borrowed.pth").write_text("".join(f"{folder}\n" for folder in sorted(borrowed)))
    return home / "bin"


def test_names_and_version(built: Built) -> None:
    version = audit.__version__
    assert built.sdist.name == f"attestory-{version}.tar.gz"
    assert built.wheel.name == f"attestory-{version}-py3-none-any.whl"


def test_the_wheel_holds_the_package_and_the_schemas(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as archive:
        names = archive.namelist()
        schemas = {
            name.removeprefix("audit/schemas/"): archive.read(name)
            for name in names
            if name.startswith("audit/schemas/")
        }
    assert "event.v1.avsc" in schemas
    assert schemas == {name: path.read_bytes() for name, path in SCHEMA_FOLDER.items()}
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "audit").rglob("*.py")}
    assert modules <= set(names)
    assert "audit/py.typed" in names
    assert {name.partition("/")[0] for name in names} == {
        "audit",
        "consumers",
        f"attestory-{audit.__version__}.dist-info",
    }


def test_the_sdist_holds_what_a_reader_and_a_tester_need(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "CHANGELOG.md", "Makefile", "tests/test_wheel.py"} <= names
    assert {f"schemas/{name}" for name in SCHEMA_FOLDER} <= names


def test_the_schemas_come_from_inside_the_wheel(installed: Path, tmp_path: Path) -> None:
    program = (
        "import audit, pathlib\n"
        "from audit.event.schema import builtin, canonical_schema\n"
        "folder = pathlib.Path(audit.__file__).parent / 'schemas'\n"
        "for path in sorted(folder.glob('*.avsc')):\n"
        "    assert builtin(path.stem) == canonical_schema(path.read_bytes()), path\n"
        "    print(path)\n"
    )
    done = run([str(installed / "python"), "-c", program], cwd=tmp_path)
    printed = [Path(line) for line in done.stdout.split("\n") if line]
    assert [path.name for path in printed] == SCHEMAS
    assert all(path.is_relative_to(installed.parent) for path in printed)


def test_the_demo_runs_from_the_wheel_and_writes_only_where_it_is_told(
    installed: Path, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    done = run([str(installed / "audit"), "demo", "--dir", str(tmp_path / "demo")], cwd=empty)
    assert "IDENTICAL" in done.stdout
    assert list(empty.iterdir()) == []
    assert (tmp_path / "demo").is_dir()
