"""Files: the only place that knows of formats and of LPS."""
