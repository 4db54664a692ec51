"""Generators: they propose architectures, steered by a utility (an acquisition function or a predictor)."""
