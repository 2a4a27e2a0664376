"""The fleet: warm sandboxes, and who gets one when there are fewer than are wanted."""
