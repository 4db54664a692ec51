"""Block latency tables of the user's own devices: built part by part, validated against whole networks."""
