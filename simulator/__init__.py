"""Seeded sensors, scenarios, encoders written apart from the decoders, and replay of real files. May import core
and policy.
"""
