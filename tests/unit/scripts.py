"""Programs of the boxes that are one file without an ending, loaded as modules."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def load(script: Path) -> ModuleType:
    """The program as a module, not run; nothing is left beside it."""
    loader = importlib.machinery.SourceFileLoader(script.name.replace("-", "_"), str(script))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    # Where dataclasses look for their module.
    sys.modules[loader.name] = module
    bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = bytecode
    return module
