"""Data sets of latencies: Parquet files partitioned by device, with a card, that others can load, check and merge."""
