"""Stores that wrap a store and keep its face."""
