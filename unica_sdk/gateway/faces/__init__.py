"""The gateway's faces: one FastAPI app for each kind of caller, none reachable through another.

Runs in the hub's zone. May see what the gateway lets this kind of caller see. Must never decide anything
itself: a face knows who is calling and which power a route needs, the gateway does the rest.
"""
