"""The alert lifecycle on its two axes, and delivery of notices, one file a channel. May import core and policy."""
