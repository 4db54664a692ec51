"""Search spaces: what an architecture is, which are legal, and the network that each describes."""
