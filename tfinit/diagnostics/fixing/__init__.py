"""`tfinit diagnose --fix`: the lines of the user's program that cures change, as a diff."""
