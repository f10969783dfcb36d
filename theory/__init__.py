"""What is true: closed forms, laws, processes, identities and bounds."""
