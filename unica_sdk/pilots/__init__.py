"""What ships with UNICA to try it out: an app, and synthetic data that it can learn from.

`phantom` makes SYNTHETIC mammograms: no person stands behind any of them. `breast_screen` is the folder of an
app bundle, not a package of this one; `catalogue` finds such folders.

Runs in two places: `phantom` on the operator's machine, an app in a site's child process. May see, an app:
the cases of an admitted job; `phantom`: nothing but its own random numbers. Must never reach a network, nor
be imported by `client`, `gateway` or `node`.
"""
