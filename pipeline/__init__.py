"""The judged path, one for live and replay: decode, admit, conditions, lifecycle, one transaction. May import
core, policy, ingest, store, rules and alerts.
"""
