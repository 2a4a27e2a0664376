"""Schemas: three languages compile to one model and print back from it."""
