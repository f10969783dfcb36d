"""Score models of data in one dimension or many: networks, diffusions, data, metrics, and how they are fitted."""
