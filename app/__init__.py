"""Settings, wiring, the services and the command line of greenmine. May import every other room; nothing imports it."""

__version__ = "0.1.0"
