"""Imports every module of the installed packages that can be imported in an environment."""

import importlib
import pkgutil
import sys
from importlib.util import find_spec
from pathlib import Path

ADAPTERS = {
    "langchain_core": "langchain_splitreason",
    "llama_index.core": "llama_index.llms.splitreason",
}


def import_all(*, without: set[str]) -> None:
    """Import all modules; those alone may fail that need a package named in `without`.

    The packages named in `without` must not be installed.
    """
    for name in sorted(without):
        assert not _is_installed(name), f"{name} is installed, so this tries nothing"
    packages = ["splitreason_integrations"]
    packages += [adapter for needed, adapter in ADAPTERS.items() if needed not in without]
    imported, failed = 0, []
    for package in packages:
        root = importlib.import_module(package)
        assert Path(root.__file__).is_relative_to(Path.cwd()), root.__file__
        names = pkgutil.walk_packages(root.__path__, f"{package}.", onerror=lambda name: None)
        for module in names:
            try:
                importlib.import_module(module.name)
                imported += 1
            except ImportError as error:
                if not f"{error.name}.".startswith(tuple(f"{name}." for name in without)):
                    raise
                failed.append(f"{module.name} ({error.name})")
    assert imported > 150, imported
    assert not without & set(sys.modules)
    print(f"  {imported} modules imported; not here: {', '.join(failed) or 'none'}")


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # of the package that a dotted name is in
        return False
