"""Composition roots: they build the objects of one program, wire them together and own its tasks."""
