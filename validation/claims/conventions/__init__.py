"""The conventions of the library, each a claim."""
