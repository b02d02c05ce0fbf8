"""Rules on what a folder of images holds, and the report that a data manager reads.

Runs in a site's own machine. May see headers, the site's pseudonyms and the hospital's file names. Must never
write an identifier, a date or a name from a header: a report names people by pseudonym and files by path, and
both stay at the site.

    rules        every rule: its identity, dimension, whether it is hard
    headers      the rules that one file's header can break
    collection   the rules that only many files, or the clinical table, can break
    report       what came of them, for people (`html`) and for machines
"""
