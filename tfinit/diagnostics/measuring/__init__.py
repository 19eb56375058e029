"""What a diagnosis measures: two passes, and statistics of what they show."""
