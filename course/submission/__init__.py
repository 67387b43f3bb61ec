"""What learners run to submit: the checks before it, the zip and the PDF."""
