"""A site's images as arrays: as acquired from where they lie, at training resolution from a cache.

Runs in a site's own machine. May see the site's DICOM files and its index. Must never run a codec in the
node's own process, let a row or a pixel leave the site, or hand out an image without a word where it could
not be read: a case is either right or a `DataError` that names it.

    import xarray as xr
    images = xr.open_dataset(home, engine="unica", modality="MG", rows=512, columns=512)

    table        cases column by column, from the index or from files    reader     batches of cases
    volumes      slices in order along their normal; gaps refused        backend    xarray's engine "unica"
    frames       one uncompressed frame at its recorded offset           training   batches as torch tensors
    preparation  scaling and area mean, the only ones of the node        cache      prepared images, kept in
    filling      what an ingest puts into the cache on its way                      segments, within storage
    upkeep       what it prunes and prepares at its end                  settings   what the node says of it
"""
