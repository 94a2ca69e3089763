"""What code ran on: Python, platform and package versions, recorded and compared.

Cheap and local: no network is used, and nothing is loaded for it but threadpoolctl, once NumPy or
SciPy is there, which then says what computes for them, and SciPy's BLAS. What cannot change is
looked up once.
"""

import os
import platform
import re
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from importlib import import_module

USUAL_PACKAGES = ("numpy", "pandas", "scipy", "sklearn")
"""Recorded, by import name, whenever the process has loaded them."""
MACHINE = ("blas", "cpu_model", "cpus", "threads")
"""What `machine` says, besides packages: it decides the last bits of a sum."""
_PACKAGE_OF = {"sklearn": "scikit-learn"}
"""Where a usual package is not called as it is imported."""
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def environment(modules: Iterable[str] = ()) -> dict[str, str]:
    """Names and versions, sorted: python, platform, cpu and packages by their import name.

    `modules`: top-level modules that something needs (as its pickle names them); those of the
    standard library are covered by Python's own version. The names of MACHINE are looked up there.
    """
    modules = set(modules)
    found = {
        "cpu": platform.machine(),
        "platform": platform.system(),
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
    }
    # Who asks by the names that were recorded asks for these, too: they are no packages.
    known = {"__main__", "builtins", *MACHINE, *found}
    loaded = (name for name in USUAL_PACKAGES if name in sys.modules)
    if modules.intersection(MACHINE):
        found |= {name: said for name, said in machine().items() if name in modules}
    for name in sorted({*modules, *loaded} - known):
        if name not in sys.stdlib_module_names:
            version = package_version(name)
            if version is not None:
                found[name] = version
    return dict(sorted(found.items()))


def machine() -> dict[str, str]:
    """What computes: model and number of processors, BLAS with its kernel, and its threads.

    `threads`: as the variables of THREAD_VARIABLES say, else as many as the BLAS uses.
    """
    return dict(_machine("numpy" in sys.modules, "scipy" in sys.modules))


def lock_text() -> bytes:
    """Every installed package, a line NAME==VERSION each, sorted: what `pip install -r` takes."""
    return _lock_text()


@cache
def _lock_text() -> bytes:
    from importlib import metadata

    lines = set()
    for distribution in metadata.distributions():
        said = distribution.metadata  # read anew, and parsed, by each look at it
        if said["Name"]:
            lines.add(f"{re.sub('[-_.]+', '-', said['Name']).lower()}=={said['Version']}")
    return "".join(f"{line}\n" for line in sorted(lines)).encode()


@cache
def _machine(numpy_loaded: bool, scipy_loaded: bool) -> Mapping[str, str]:
    """Looked up again once a library is there that may have brought a BLAS."""
    found = {"cpus": str(os.cpu_count() or 0)}
    model = _cpu_model()
    if model:
        found["cpu_model"] = model
    if scipy_loaded:
        load_blas_of_scipy()
    libraries = _blas_libraries() if numpy_loaded or scipy_loaded else []
    if libraries:
        found["blas"] = ", ".join(sorted({kernel for kernel, _ in libraries}))
    told = {name: os.environ[name] for name in THREAD_VARIABLES if os.environ.get(name)}
    if told:
        found["threads"] = ", ".join(f"{name}={value}" for name, value in told.items())
    elif libraries and libraries[0][1]:
        found["threads"] = ", ".join(sorted({threads for _, threads in libraries}))
    return found


def load_blas_of_scipy() -> None:
    """Load what computes for SciPy, alone: a part of SciPy that was loaded need not have done so.

    Without this the same process would say one BLAS now, and two after its next import. The whole
    of `scipy.linalg` takes longer to load than most recorded calls.
    """
    if "scipy.linalg" in sys.modules:
        return
    import ctypes
    from importlib import machinery, util

    try:
        (folder,) = util.find_spec("scipy").submodule_search_locations  # type: ignore[union-attr, misc]
        found = machinery.PathFinder.find_spec("_fblas", [os.path.join(folder, "linalg")])
        ctypes.CDLL(found.origin)  # type: ignore[union-attr]
    except (ImportError, AttributeError, TypeError, ValueError, OSError):
        # Another SciPy, or another system.
        with suppress(Exception):
            import_module("scipy.linalg")


def _cpu_model() -> str | None:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            found = re.search(
                r"^(?:model name|Model)\s*:\s*(.+)$", file.read(1 << 16), re.MULTILINE
            )
    except OSError:
        return platform.processor() or None
    return found[1].strip()[:200] if found else platform.processor() or None


def _blas_libraries() -> list[tuple[str, str]]:
    """(name, version and kernel; number of threads) of each BLAS in this process."""
    try:
        import threadpoolctl

        return [
            (
                f"{pool['internal_api']} {pool['version']} {pool.get('architecture', '')}".strip(),
                str(pool["num_threads"]),
            )
            for pool in threadpoolctl.threadpool_info()
            if pool["user_api"] == "blas"
        ]
    except (ImportError, OSError, KeyError, RuntimeError):
        return _configured_blas()


def _configured_blas() -> list[tuple[str, str]]:
    """What NumPy was built with, where nothing says what it uses."""
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return []
    try:
        said = numpy.show_config(mode="dicts")["Build Dependencies"]["blas"]
        return [(f"{said['name']} {said['version']}", "")]
    except (AttributeError, KeyError, TypeError):
        return []


def package_version(module: str) -> str | None:
    """The version of a top-level module's package; None when it does not say."""
    version = getattr(sys.modules.get(module), "__version__", None)
    if isinstance(version, str):
        return version
    # Here: loading it takes a process that replays one call longer than the call.
    from importlib import metadata

    try:
        return metadata.version(_PACKAGE_OF.get(module, module))
    except (metadata.PackageNotFoundError, ValueError):
        pass
    # The package has another name than its module (scikit-learn, sklearn); this looks at them all.
    named = _distributions().get(module)
    return metadata.version(named[0]) if named else None


@cache
def _distributions() -> Mapping[str, list[str]]:
    from importlib import metadata

    return metadata.packages_distributions()


def differences(recorded: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """What of the recorded environment is otherwise now, a short sentence each, sorted by name."""
    found = []
    for name in sorted(recorded):
        was, is_now = recorded[name], now.get(name)
        if was != is_now:
            found.append(f"{name} {was} -> {'not installed' if is_now is None else is_now}")
    return found
