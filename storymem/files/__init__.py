"""Files and texts from anywhere, read and written with care; the lowest room."""
