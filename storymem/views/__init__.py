"""What the page and contact sheets show."""
