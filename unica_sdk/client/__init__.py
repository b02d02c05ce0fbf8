"""The researcher's client: find, count, freeze, submit, watch, read.

Runs in the researcher's kernel. May see metadata, protected counts, job states and released metrics.
Must never see a row, a pixel or a weight, nor talk to anything but the gateway.
"""
