"""Goals, Pareto fronts and the acquisition that decides what to measure next."""
