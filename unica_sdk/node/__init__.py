"""A data holder's node: its keys, its index of images, its policy, and what it answers.

Runs in a site's own machine. May see the site's DICOM files, clinical table, keys and policy. Must never let
a row, a pixel, a patient identifier or an unprotected number leave: every number passes `disclosure`, every
answer and admission is written to the site's audit first. It always calls out; nobody calls in.
"""
