"""What a run is: its fields in :mod:`mulan.config.sections`, the named recipes in :mod:`mulan.config.recipes`."""
