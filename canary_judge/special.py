"""scipy's special functions, without waiting for what their package loads beside them.

`import scipy.special` takes longer than `import numpy`, nearly all of it for other array libraries and orthogonal
polynomials. The functions themselves stand in one compiled module. So, as `importlib.util.LazyLoader` does, the package
is put in place unexecuted, and is executed in full when anybody asks it for what it does not have yet; only importing a
module from within it does not.
"""

from __future__ import annotations

import sys
import threading
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import TYPE_CHECKING

__all__ = ["special"]

_PACKAGE, _FUNCTIONS = "scipy.special", "scipy.special._ufuncs"
_EXECUTING = threading.RLock()


class _Unexecuted(ModuleType):
    """A package that is executed when it is asked for what it does not have yet."""

    __spec__: ModuleSpec

    def __getattr__(self, name: str) -> object:
        """What the package has once it is executed."""
        with _EXECUTING:
            waiting = self.__spec__.loader_state
            if waiting:
                self.__spec__.loader_state = False  # it asks itself, too
                try:
                    self.__spec__.loader.exec_module(self)  # type: ignore[union-attr]
                except BaseException:
                    self.__spec__.loader_state = True
                    raise
                self.__class__ = ModuleType  # type: ignore[assignment]
        try:
            return self.__dict__[name]
        except KeyError:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}") from None


def _functions() -> ModuleType:
    if _PACKAGE not in sys.modules and (spec := find_spec(_PACKAGE)) is not None:
        package = module_from_spec(spec)
        package.__class__ = _Unexecuted
        spec.loader_state = True
        sys.modules[_PACKAGE] = package
    try:
        return import_module(_FUNCTIONS)
    except ImportError:  # a scipy that keeps them elsewhere
        return import_module(_PACKAGE)


if TYPE_CHECKING:
    from scipy import special
else:
    special = _functions()
