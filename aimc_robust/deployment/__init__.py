"""What trained models will score on devices: the question, the run, and the rows it leaves."""

from aimc_robust.deployment.progress import Progress
from aimc_robust.deployment.question import Question, TrainedModel
from aimc_robust.deployment.run import Request, deploy
from aimc_robust.deployment.store import Results

__all__ = ["Progress", "Question", "Request", "Results", "TrainedModel", "deploy"]
