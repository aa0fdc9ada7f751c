"""A comparison: the spec, its data and models, the runs, and the rows they leave."""

from aimc_robust.bench.compare import Outcome, compare
from aimc_robust.bench.progress import Progress
from aimc_robust.bench.spec import Spec, load_spec
from aimc_robust.bench.spec_file import written_out
from aimc_robust.bench.store import Store

__all__ = ["Outcome", "Progress", "Spec", "Store", "compare", "load_spec", "written_out"]
