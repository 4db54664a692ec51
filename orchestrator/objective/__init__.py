"""Accuracy of a candidate: training, a table, zero-cost proxies, or the user's own command."""
