"""The live graph of one store in this process's memory, as plain dicts and sets of numbers."""
