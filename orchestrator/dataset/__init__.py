"""Data sets out of runs: campaigns and collections become rows."""
