"""A coding agent that works in sandboxes, within permissions, with every step on record."""
