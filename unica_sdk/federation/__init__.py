"""Federated jobs: the only package that imports the engine (Flower).

`hub` runs at the hub, `site` at a node, `grid` in one process for LocalNetwork. May see model weights,
histograms and round metrics in flight; at a site also the cases of an admitted job. Must never run a bundle's
code at the hub, nor let an app's output or exception text leave a site.
"""
