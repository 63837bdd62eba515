"""Everything that touches Ray: sites, ingest, workers; the only room that imports ray."""
