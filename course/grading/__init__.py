"""The instructor's half: the handout for learners, and the grading of what comes back."""
