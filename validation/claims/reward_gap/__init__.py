"""Claims of `reward_gap`: what the stochasticity of a sampler does to laws, rewards and their tuning."""
