"""From annotations to clips: manifests, label maps, the plan of an epoch, and the reading of one row."""
