"""What the reward of a real model measures: pMI, S, G, R, and where credit goes.

Training samples it; files and models complete it.

Only `choices` and `scoring` need a model.
"""

from credit.diagnostics.measures import Measures, OddRollout, auroc, measure
from credit.diagnostics.rollouts import Rollouts, read_credit_of_run, read_rollouts
from credit.diagnostics.summary import diagnose

__all__ = [
    "Measures",
    "OddRollout",
    "Rollouts",
    "auroc",
    "diagnose",
    "measure",
    "read_credit_of_run",
    "read_rollouts",
]
