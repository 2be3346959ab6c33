"""Arrays, parameters, registry, oracles and engines: what every method stands on."""
