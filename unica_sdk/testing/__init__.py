"""The whole network in one process, for laptops, workshops and tests.

Runs in the caller's own process, on synthetic data only, without isolation: this package composes the zones
that the environment keeps apart. May see everything it made itself. Must never be given real patients' data,
nor be used where zones must be kept apart.
"""
