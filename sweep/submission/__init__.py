"""A run handed in to a cluster from elsewhere: what travels, what must be there, and its job."""
