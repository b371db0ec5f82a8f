"""An assignment as it is handed out, and what is proven of it before."""
