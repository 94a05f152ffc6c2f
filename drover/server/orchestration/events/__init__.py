"""What happens on hosts by itself: containers that start, stop and vanish without having been told to."""
