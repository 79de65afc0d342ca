"""The script of a story: shots, casts, and its two forms, plain text and JSON."""
