"""What this package uses of Lightning Fabric, imported without torchmetrics.

`lightning_fabric` imports torchmetrics to compare its version. torchmetrics, where it is installed, imports torchvision
and transformers if they are: seconds of every command and every worker.
"""

import importlib.metadata
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

UNUSED = "torchmetrics"


@contextmanager
def without_torchmetrics() -> Iterator[None]:
    """Let `import torchmetrics` find an empty module with the version of the installed one, unless it is loaded."""
    try:
        version = importlib.metadata.version(UNUSED)
    except importlib.metadata.PackageNotFoundError:
        version = ""
    if not version or UNUSED in sys.modules:
        yield
        return
    empty = ModuleType(UNUSED)
    empty.__version__ = version  # type: ignore[attr-defined]
    sys.modules[UNUSED] = empty
    try:
        yield
    finally:
        del sys.modules[UNUSED]


with without_torchmetrics():
    from lightning_fabric import Fabric
    from lightning_fabric.strategies.ddp import DDPStrategy
    from lightning_fabric.strategies.single_device import SingleDeviceStrategy

__all__ = ["DDPStrategy", "Fabric", "SingleDeviceStrategy"]
