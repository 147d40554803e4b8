"""From two volumes to what a network or the refinement takes."""
