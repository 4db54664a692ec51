"""Comparison of the latencies of two runs."""
