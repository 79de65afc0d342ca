"""Nodes that sample shots with memory."""
