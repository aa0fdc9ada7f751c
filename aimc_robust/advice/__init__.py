"""What to train for a device: measure its errors on the user's model, propose, and let a small sweep judge."""

from aimc_robust.advice.proposal import Proposal, propose
from aimc_robust.advice.recommend import Advice, device_name, recommend
from aimc_robust.advice.verdict import Verdict, judge

__all__ = ["Advice", "Proposal", "Verdict", "device_name", "judge", "propose", "recommend"]
