"""Dataset records as linked data: EUCAIM DCAT-AP 2.0, which extends HealthDCAT-AP and DCAT-AP.

Runs in hub and node. May see released metadata only: what a `DatasetRecord` says. Must never read a site's
data, open a connection, or follow an address in what it reads.

    namespaces   every namespace and authority code, as constants
    graph        a record, or a catalogue of them, as an RDF graph
    documents    a graph as JSON-LD and Turtle, and back
    shapes.ttl   what a record has to say (SHACL), each shape with its fix
    validation   what is wrong with records, by these shapes
    tiers        EUCAIM's tier of a dataset, and what the next one asks for

rdflib and pySHACL are imported when first needed.
"""
