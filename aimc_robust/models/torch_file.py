"""Files that torch.save wrote, read without running code of theirs."""

import io
import pickle
import re
import warnings
from pathlib import Path
from typing import Any

import torch

from aimc_robust.errors import CheckpointError


class _Inert:
    """Stands for an object beside the weights, whose own code never runs and whose content is not kept."""

    def __new__(cls, *_: Any) -> "_Inert":
        return super().__new__(cls)

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass


def _empty_dict(*_: Any) -> dict[Any, Any]:
    return {}


def _empty_list(*_: Any) -> list[Any]:
    return []


# What timm, torchvision's references, Lightning, the Hugging Face Trainer and plain scripts store beside weights:
# options, paths, times, versions, and metrics or random states as numpy values. A subclass has another name.
INERT_NAMES = (
    "argparse.Namespace",
    "types.SimpleNamespace",
    "torch.torch_version.TorchVersion",
    *(f"datetime.{name}" for name in ("datetime", "date", "time", "timedelta", "timezone")),
    *(
        f"{module}.{flavour}Path"
        for module in ("pathlib", "pathlib._local")  # the latter: Python 3.13
        for flavour in ("Posix", "PurePosix", "Windows", "PureWindows")
    ),
    *(f"builtins.{name}" for name in ("bool", "dict", "float", "frozenset", "int", "list", "range", "slice", "str")),
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    "numpy.dtype",
    "numpy.ndarray",
)
# Packages whose objects are read without their content too: the hardware that aihwkit keeps in its state_dicts.
INERT_PACKAGES = ("aihwkit.", "aihwkit_lightning.")
_STAND_INS: list[Any] = [
    *((_Inert, name) for name in INERT_NAMES),
    (_empty_dict, "collections.defaultdict"),  # torch fills them with what the file holds
    (_empty_list, "collections.deque"),
]


def read_torch_file(path: Path, data: bytes) -> Any:
    """Return what a file of torch.save holds: tensors in plain containers; the content of inert objects is left out.

    Raises:
        CheckpointError: if it holds an object of another class, which could run code, or is damaged or of another type.
    """
    try:
        stand_ins = [*_STAND_INS, *((_Inert, name) for name in _inert_classes(data))]
        with warnings.catch_warnings(action="ignore"), torch.serialization.safe_globals(stand_ins):
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for other files
        if isinstance(error, pickle.UnpicklingError) and data.startswith((b"PK", b"\x80")):
            named = re.search(r"GLOBAL (\S+)", str(error))
            held = f", it holds {named[1]}" if named else ""
            raise CheckpointError(
                f"{path} is a pickle of more than tensors{held}; loading it could run code, so it is rejected. In the "
                "program that made it, save only tensors: "
                "safetensors.torch.save_file(model.state_dict(), 'NAME.safetensors')."
            ) from None
        raise CheckpointError(
            f"{path} cannot be read as weights ({type(error).__name__}); expected a .safetensors file, or one "
            "written by torch.save(model.state_dict(), FILE)."
        ) from None


def _inert_classes(data: bytes) -> list[str]:
    """Return the names of INERT_PACKAGES in a file, which need not be installed."""
    if not data.startswith(b"PK") or not any(package.rstrip(".").encode() in data for package in INERT_PACKAGES):
        return []
    names = torch.serialization.get_unsafe_globals_in_checkpoint(io.BytesIO(data))
    return [name for name in names if name.startswith(INERT_PACKAGES)]
