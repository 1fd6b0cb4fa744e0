"""The array types that all modules speak in, and how they stand in JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Bool", "Float", "Int"]


@dataclass(frozen=True, slots=True)
class _InJson:
    """Floats as {shape, values} with null for NaN, integers as a list. Only pydantic asks, for the state of looks."""

    kind: type[np.float64 | np.int64]

    def write(self, array: NDArray[Any]) -> Any:
        """Plain values."""
        if self.kind is np.int64:
            return array.tolist()
        listed = array.astype(object)
        listed[np.isnan(array)] = None
        return {"shape": list(array.shape), "values": listed.ravel().tolist()}

    def read(self, plain: Any) -> NDArray[Any]:
        """What `write` gave."""
        if self.kind is np.int64:
            return np.array(plain, dtype=np.int64)
        return np.array(plain["values"], dtype=np.float64).reshape(plain["shape"])

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema  # numpy is all that statistics need

        writing = core_schema.plain_serializer_function_ser_schema(self.write)
        return core_schema.no_info_plain_validator_function(self.read, serialization=writing)


Float = Annotated[NDArray[np.float64], _InJson(np.float64)]
Int = Annotated[NDArray[np.int64], _InJson(np.int64)]
Bool = NDArray[np.bool_]
