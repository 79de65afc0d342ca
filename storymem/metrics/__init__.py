"""How well a finished story holds together: the paper's numbers."""
