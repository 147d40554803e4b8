"""Files and folders that appear whole or not at all, and the content by which they are known."""
