"""Claims of `score_as_action`: fine-tuning as control of the score, its gradients, critics and pitfalls."""
