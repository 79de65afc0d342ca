"""Nodes of the memory bank and of what fills it."""
