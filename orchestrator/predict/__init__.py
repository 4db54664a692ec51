"""Predictors of accuracy and latency: encodings of architectures and surrogates fitted on measurements."""
