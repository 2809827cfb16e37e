"""The vocabulary every room shares: readings, quality, units, alerts, facts, clocks, the ports and the error tree.
Imports nothing of ours and performs no I/O.
"""
