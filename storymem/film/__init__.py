"""A story's folder: films, shots and the script as the artist finds them."""
