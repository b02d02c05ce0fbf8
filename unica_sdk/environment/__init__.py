"""The embedded environment: every part of UNICA on one machine, under one supervisor.

Runs on a demonstration or development machine, as the service user. May see the state folder of its own
environment, the demonstration steward's key included. Must never be how a hospital's node is run: there each
part stands alone, under the site's own service manager.
"""
