"""How the small trained models are made: a recipe, a training and an evaluation each, see :mod:`.retrain`.

They are loaded by :func:`driftproof.backends.torch.pretrained.zoo`, which stands below and trains nothing.
"""
