"""Zanzibar-class authorization: who may do what, answered at a known point in time."""
