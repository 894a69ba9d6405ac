"""Networks of dense layers, their weights and initializers."""
