"""Conditions that act on arrival. Pure: time and state are arguments. May import core and policy."""
