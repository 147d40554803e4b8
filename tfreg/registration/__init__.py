"""Registration of pairs: files in, results out."""
