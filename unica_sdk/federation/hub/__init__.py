"""The hub's side of a job: rounds, averaging, quorum, deadline, and the engine's processes.

Runs in the hub's own processes. May see model weights, histograms and round metrics in flight. Must never
import or unpack a bundle, nor run a task that the gateway does not know.
"""
