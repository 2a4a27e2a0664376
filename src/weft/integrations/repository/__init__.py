"""A git repository as a live graph: who changed what, what changes together, what calls what, who may."""
