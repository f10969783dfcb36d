"""What fine-tuning by rewards shares: tasks, samplers, rollouts, rewards, and the protocol of a trainer."""
