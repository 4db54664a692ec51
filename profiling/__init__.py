"""What a measurement is: networks, artifacts, plans, records, statistics and the store.

Needs numpy, not torch or adb.
"""
