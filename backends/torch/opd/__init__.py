"""On-policy distillation on torch: losses for any training loop."""

from .linear import linear_log_probs, linear_opd_loss
from .losses import OPDLoss, full_vocabulary_loss, opd_loss

__all__ = ["OPDLoss", "full_vocabulary_loss", "linear_log_probs", "linear_opd_loss", "opd_loss"]
