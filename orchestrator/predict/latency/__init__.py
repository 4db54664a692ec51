"""Latency of a whole space on a device, from a few measurements and from what other devices have in common."""
