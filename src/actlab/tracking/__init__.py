"""MLflow: runs written and read, its pages, the registry, serving."""
