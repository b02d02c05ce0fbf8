"""The gateway: the hub's one door to permits, catalogue, counts, cohorts and jobs.

Runs in the hub's zone, one process with a listener for each kind of caller, or inside LocalNetwork. May see
people, permits, dataset records, protected numbers, job states and metrics. Must never see a row or a pixel,
run a researcher's code, or do anything its audit could not record first.
"""
