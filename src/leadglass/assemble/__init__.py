"""The one place that names concrete classes: founding an archive, opening it, serving it, operating it."""
