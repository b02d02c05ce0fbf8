"""The site's side of a job: checks before, a child process for the app's code, checks after.

Runs in the node's own process. May see the cases of an admitted job and everything an app answers. Must never
run a line of an app that was not approved, admitted and unpacked here, nor send what the manifest does not
declare, nor an app's own words.
"""
