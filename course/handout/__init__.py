"""Make the learners' version of this repository: exercises blanked, and searched for solutions."""
