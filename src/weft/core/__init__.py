"""What two libraries need: errors, clock, ids, codec, limits, settings, telemetry, the LMDB environment."""
