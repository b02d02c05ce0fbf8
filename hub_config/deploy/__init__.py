"""Putting UNICA on a machine: what runs before anything is installed.

Runs in a plain Python, before the project's packages exist. May see the clone and the machine it stands on.
Must never import anything outside the standard library, nor name a package registry.
"""
