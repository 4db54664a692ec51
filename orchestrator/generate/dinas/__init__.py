"""DiNAS: discrete diffusion over slots, conditioned on accuracy and on latency budgets of given devices."""
