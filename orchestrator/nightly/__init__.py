"""Nights on a device farm: a fixed set of models, measured and compared with a baseline, phone by phone."""
