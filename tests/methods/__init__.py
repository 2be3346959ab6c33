"""Evidence, a file a paper: claims, then identities."""
