"""Collections: latencies of many models on many devices, for data sets."""
