"""Decides what to measure next: spaces, generators, predictors, the optimiser, campaigns,
reports and the `nag` command.
"""
