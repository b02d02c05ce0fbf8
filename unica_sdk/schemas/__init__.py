"""The contracts that all zones share: frozen pydantic models and the pure rules that belong to them.

Runs in every zone. May see whatever a document holds. Must never do I/O, nor import another UNICA package
than `errors`; `client`, `gateway` and `node` meet here and nowhere else.
"""
