"""Make an assignment, collect it and grade it: the course's wing."""
