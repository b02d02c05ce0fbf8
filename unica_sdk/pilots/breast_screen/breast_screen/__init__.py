"""The breast screening app: what runs at a site, and nothing else.

Runs in a site's child process, after the site has checked the job. May see the images and labels of the
admitted cases. Must never keep anything between messages, nor answer with more than its manifest declares.
"""
