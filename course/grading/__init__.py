"""Grade what learners hand in: `python -m course.grading`, for instructors."""
