"""Where the cells of a comparison run: in this process, in several on this machine, or on a Ray cluster."""

from aimc_robust.bench.engines.engine import Engine, RunCell
from aimc_robust.bench.engines.jobs import Jobs
from aimc_robust.bench.engines.ray_engine import RayEngine
from aimc_robust.bench.engines.serial import Serial

__all__ = ["Engine", "Jobs", "RayEngine", "RunCell", "Serial"]
