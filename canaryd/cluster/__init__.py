"""What any controller does with an API server: follow objects, be the one that acts, and say what happened."""
