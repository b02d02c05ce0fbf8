"""The secure environment's door: JupyterHub, its people, their powers, their workspaces and dashboards.

Runs in the hub's processes (the hub, the single-user servers it starts, the dashboards' service), as the
environment's service user. May see people, groups, tokens and released aggregates. Must never see a row or a
pixel, import the node or the engine, or print a token.
"""
