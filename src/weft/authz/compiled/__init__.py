"""Checks compiled to closures over the mirror: they prove a yes or no, or leave it to the evaluator."""
