"""How the models of the zoo were made."""
