"""UNICA: federated cancer-imaging research in a secure environment."""
