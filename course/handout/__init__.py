"""The learners' version of this repository: exercises blanked, solutions searched for."""
