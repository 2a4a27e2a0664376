"""A property graph fed by event streams: what is connected to what, seconds after it happened."""
