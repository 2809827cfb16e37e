"""From the broker to admitted readings: subscriber, embedded broker, journal, decoders, admission, dead letters.
May import core and policy.
"""
