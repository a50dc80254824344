"""Where runs live, and the journal of what happened to them."""
