"""How the tiny model is trained and measured; nothing an artist runs needs it."""
