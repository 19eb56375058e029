"""Rules about the inputs: their scale, what they hold, what reads them."""
