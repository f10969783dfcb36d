"""How it is computed: algorithms written once over the Array API."""
