"""What code ran on: Python, platform and package versions, recorded and compared.

Cheap and local: nothing is imported for it, and no network is used.
"""

import platform
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import metadata

USUAL_PACKAGES = ("numpy", "pandas", "scipy", "sklearn")
"""Recorded, by import name, whenever the process has loaded them."""


def environment(modules: Iterable[str] = ()) -> dict[str, str]:
    """Names and versions, sorted: python, platform, cpu and packages by their import name.

    `modules`: top-level modules that something needs (as its pickle names them); those of the
    standard library are covered by Python's own version.
    """
    found = {
        "cpu": platform.machine(),
        "platform": platform.system(),
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
    }
    loaded = (name for name in USUAL_PACKAGES if name in sys.modules)
    for name in sorted({*modules, *loaded} - {"__main__", "builtins"}):
        if name not in sys.stdlib_module_names:
            version = package_version(name)
            if version is not None:
                found[name] = version
    return dict(sorted(found.items()))


def package_version(module: str) -> str | None:
    """The version of a top-level module's package; None when it does not say."""
    version = getattr(sys.modules.get(module), "__version__", None)
    if isinstance(version, str):
        return version
    try:
        return metadata.version(module)
    except (metadata.PackageNotFoundError, ValueError):
        pass
    # The package has another name than its module (scikit-learn, sklearn); this looks at them all.
    named = _distributions().get(module)
    return metadata.version(named[0]) if named else None


@cache
def _distributions() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()


def differences(recorded: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """What of the recorded environment is otherwise now, a short sentence each, sorted by name."""
    found = []
    for name in sorted(recorded):
        was, is_now = recorded[name], now.get(name)
        if was != is_now:
            found.append(f"{name} {was} -> {'not installed' if is_now is None else is_now}")
    return found
